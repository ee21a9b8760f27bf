// README's first commands and its program, as they stand there, in an empty project with the tarball installed: a user who
// copies them gets what it says. `coco-base` is there, with the tiny model's weights under its name; nothing is downloaded.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { before, describe, type TestContext, test } from 'node:test';
import { recordedLibtorch } from '#blip/libtorch/addon-files.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { cannotPack, installed, type Project, packInto } from '../helpers/installed.js';
import { fewEvaluated, tinyCheckpoint, tinyData, trainingValues, writeConfigFile } from '../helpers/tiny-run.js';

const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8');

/** The first code block below a heading. */
function block(heading: string): string {
  const text = readme.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const lines = text.split('\n');
  const first = lines.findIndex((line) => line.startsWith('    '));
  const length = lines.slice(first).findIndex((line) => line !== '' && !line.startsWith('    '));
  const code = lines.slice(first, length < 0 ? undefined : first + length);
  return `${code
    .map((line) => line.slice(4))
    .join('\n')
    .trim()}\n`;
}

const commands = block('Start')
  .split('\n')
  .filter((line) => line.startsWith('npx blip-retrieval '))
  .map((line) => line.replace(/\s+#.*$/, ''));

/** README's command of that name. */
function command(name: string): string {
  const found = commands.filter((line) => line.split(' ')[2] === name);
  assert.equal(found.length, 1, `README has the command ${name} once`);
  return found[0] ?? '';
}

const PHOTOS = 6;

test('README begins with install, search, evaluate and fine-tune, in ten lines', () => {
  const lines = block('Start').trimEnd().split('\n');
  assert.ok(lines.length <= 10, `${lines.length} lines`);
  assert.match(lines[0] ?? '', /^npm install blip-retrieval\b/);
  for (const name of ['setup', 'index', 'search', 'serve', 'evaluate', 'train']) command(name);
});

test("README's program has six lines", () => {
  const lines = block('Search your own pictures').split('\n').filter(Boolean);
  assert.equal(lines.length, 6);
});

describe("README's commands and program in an empty project", { skip: cannotPack }, () => {
  const folder = temporaryFolder();
  let tarball = '';

  before(async () => {
    tarball = join(folder, packInto(folder).filename);
    const checkpoints = join(folder, 'torch/hub/checkpoints');
    mkdirSync(checkpoints, { recursive: true });
    cpSync(await tinyCheckpoint(folder), join(checkpoints, 'model_base_retrieval_coco.pth'));
  });

  function project(t: TestContext): Project {
    const made = installed(t, tarball);
    mkdirSync(join(made.folder, 'photos'));
    const images = join(tinyData, 'images');
    const names = readdirSync(images, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.jpg'));
    for (const [i, name] of names.slice(0, PHOTOS).entries())
      cpSync(join(images, name), join(made.folder, 'photos', `${i}.jpg`));
    const values = {
      ...trainingValues(join(folder, 'rule_tiny.pth')),
      ann_root: fewEvaluated(made.folder),
      max_epoch: 1,
    };
    writeConfigFile(join(made.folder, 'my.yaml'), values);
    return made;
  }

  const env = { TORCH_HOME: join(folder, 'torch'), HF_HUB_OFFLINE: '1' };

  /** Runs README's commands one after the other. */
  function all(t: TestContext, names: string[]): string[] {
    const { run } = project(t);
    return names.map((name) => {
      const { status, stdout, stderr } = run(command(name), env);
      assert.equal(status, 0, `${command(name)}\n${stdout}${stderr}`);
      return stdout;
    });
  }

  test('setup, doctor', (t) => {
    const [setup, doctor] = all(t, ['setup', 'doctor']);
    assert.match(setup ?? '', /^Ready: /m);
    assert.match(doctor ?? '', /Everything is in order\.\n$|Usable, but:/);
  });

  test('index, search', (t) => {
    const [, found] = all(t, ['index', 'search']);
    for (let i = 0; i < PHOTOS; i++) assert.match(found ?? '', new RegExp(`\\b${i}\\.jpg\\b`));
  });

  test('evaluate, train', (t) => {
    const [evaluated, trained] = all(t, ['evaluate', 'train']);
    assert.match(evaluated ?? '', /^Evaluated in .*; results are in output\/mine$/m);
    assert.match(trained ?? '', /^Trained in .*; results are in output\/mine$/m);
  });

  test('serve', async (t) => {
    const { folder: own, run } = project(t);
    assert.equal(run(command('index'), env).status, 0);
    const [, ...args] = `${command('serve')} --port 0`.split(' ');
    const child = spawn('node_modules/.bin/blip-retrieval', args.slice(1), {
      cwd: own,
      env: { ...process.env, BLIP_CACHE: join(own, 'cache'), LIBTORCH: recordedLibtorch(), ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    t.after(() => child.kill('SIGKILL'));
    for await (const line of createInterface({ input: child.stderr })) {
      const address = /http:\/\/[\w.:[\]]+/.exec(line)?.[0];
      if (address === undefined) continue;
      assert.equal((await fetch(`${address}/health`)).status, 200);
      return;
    }
    assert.fail('serve ended without an address');
  });

  const program = block('Search your own pictures');

  test('the program finds every picture, with both scores', (t) => {
    const { folder: own, run } = project(t);
    writeFileSync(join(own, 'search.mjs'), program);
    const { status, stdout, stderr } = run('node search.mjs', env);
    assert.equal(status, 0, stderr);
    const lines = stdout.trimEnd().split('\n');
    assert.equal(lines.length, PHOTOS);
    for (const line of lines) assert.match(line, /^\d\.jpg -?0\.\d+(e-\d+)? 0\.\d+(e-\d+)?$/);
  });

  test("the program's first step, a checkpoint by its short name, works", (t) => {
    const { folder: own, run } = project(t);
    const [line = ''] = program.split('\n').filter((text) => text.includes('Retriever.open'));
    const rest = `console.log(blip.pending);\nawait blip.close();\n`;
    writeFileSync(join(own, 'open.mjs'), `import { Retriever } from 'blip-retrieval';\n${line}\n${rest}`);
    const { status, stdout, stderr } = run('node open.mjs', env);
    assert.deepEqual([status, stdout, stderr], [0, '0\n', '']);
  });
});
