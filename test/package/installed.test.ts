// The package in a project of somebody else's: the addon that came with it, the one in the cache, and what is said where
// neither serves and something is missing.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { addonFilesIn, buildFolder, readBuildRecord } from '#blip/libtorch/addon-files.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { cannotPack, installed, type Packed, packInto } from '../helpers/installed.js';

const folder = temporaryFolder();
let packed: Packed = { filename: '', size: 0, defects: [] };

/** Computes something with LibTorch, and prints where the addon is. */
const program = `
  import 'blip-retrieval';
  import * as ops from './node_modules/blip-retrieval/dist/torch/ops.js';
  import { readFileSync } from 'node:fs';
  const tensor = ops.fromBytes(Uint8Array.of(1, 2), 'uint8', [2]);
  const sum = ops.add(tensor, tensor).bytes();
  console.log(sum.join(), /\\S*torch\\.node/.exec(readFileSync('/proc/self/maps', 'utf8'))[0]);`;
const start = 'node program.mjs';

describe('an installed package', { skip: cannotPack }, () => {
  before(() => {
    packed = packInto(folder);
  });

  function project(t: Parameters<typeof installed>[0], options: { shipped?: boolean } = {}) {
    const made = installed(t, join(folder, packed.filename));
    if (options.shipped === false) rmSync(join(made.root, 'prebuilds'), { recursive: true });
    writeFileSync(join(made.folder, 'program.mjs'), program);
    return made;
  }

  /** The folder of the programs named, and of Node, as the only one of PATH. */
  function only(folder: string, ...names: string[]): NodeJS.ProcessEnv {
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, 'node'));
    for (const name of names) symlinkSync(`/usr/bin/${name}`, join(bin, name));
    return { PATH: bin };
  }

  test('is what is needed and no more, the addon too, in under 1.5 MB', () => {
    assert.deepEqual(packed.defects, []);
    assert.ok(packed.size < 1_500_000, `${packed.size} bytes`);
  });

  test('uses the addon that came with it: no build, no line, no compiler', (t) => {
    const { folder: own, root, run } = project(t);
    const { status, stdout, stderr } = run(start, only(own));
    assert.deepEqual([status, stderr], [0, '']);
    assert.equal(stdout, `2,4 ${join(root, 'prebuilds', `linux-${process.arch}`, 'torch.node')}\n`);
    assert.equal(existsSync(join(own, 'cache/addons')), false);
  });

  test('finds the one that was built for another project', (t) => {
    const { folder: own, run } = project(t, { shipped: false });
    const built = addonFilesIn(buildFolder());
    const stamp = readBuildRecord(built)?.stamp ?? '';
    cpSync(built.folder, join(own, 'cache/addons', stamp), { recursive: true });
    const { status, stdout, stderr } = run(start, only(own));
    assert.deepEqual([status, stderr], [0, '']);
    assert.equal(stdout, `2,4 ${join(own, 'cache/addons', stamp, 'torch.node')}\n`);
  });

  test('without a compiler the first line says so, with the command', (t) => {
    const { folder: own, run } = project(t, { shipped: false });
    const { status, stderr } = run(start, only(own));
    assert.equal(status, 1);
    assert.match(
      stderr,
      /UserError: The addon cannot be built without cmake and a C\+\+ compiler and make or ninja\. Run "\w.* cmake .*", then setup again\.\n/,
    );
    assert.equal(existsSync(join(own, 'cache/addons')), false);
  });

  test('without LibTorch the first line says so, with the command', (t) => {
    const { folder: own, run } = project(t);
    const without = { LIBTORCH: undefined, LIBTORCH_USE_PYTORCH: '0' };
    const { status, stderr } = run(start, { ...only(own), ...without });
    assert.equal(status, 1);
    assert.match(stderr, /UserError: LibTorch was not found\. Run "npx blip-retrieval setup" .*\n/);
  });

  test('BLIP_NO_BUILD=1 builds nothing', (t) => {
    const { run } = project(t, { shipped: false });
    const { status, stderr } = run(start, { BLIP_NO_BUILD: '1' });
    assert.equal(status, 1);
    assert.match(stderr, /UserError: The native addon is not built in .*\. Run "npx blip-retrieval setup"/);
  });

  test("the Dockerfile's own steps work in it", (t) => {
    const { folder: own, run } = project(t);
    const text = readFileSync(join(projectRoot, 'examples/docker/Dockerfile'), 'utf8');
    const steps = [...text.matchAll(/^RUN (.*blip-retrieval.*|rm .*)$/gm)].map(([, step = '']) => step);
    assert.deepEqual(steps.length, 3);
    for (const step of steps) {
      const { status, stdout, stderr } = run(step, { SETUP: '--cpu' });
      assert.deepEqual([step, status, stderr], [step, 0, ''], stdout);
    }
    const entry = /^ENTRYPOINT (\[.*\])$/m.exec(text)?.[1] ?? '[]';
    const [command, ...args]: string[] = JSON.parse(entry);
    const help = run([command, ...args, '--help'].join(' '), { BLIP_NO_BUILD: '1' });
    assert.deepEqual([help.status, help.stderr], [0, '']);
    assert.equal(existsSync(join(own, 'cache/downloads')), false);
  });

  test('on another system the import ends with one sentence', (t) => {
    const { folder: own, run } = project(t);
    const pretend = `Object.defineProperty(process, 'platform', { value: 'darwin' });`;
    writeFileSync(join(own, 'pretend.cjs'), pretend);
    const { status, stderr } = run('node --require ./pretend.cjs program.mjs');
    assert.equal(status, 1);
    assert.match(
      stderr,
      /UserError: blip-retrieval runs on Linux with glibc, on x86-64 and arm64, and this is darwin\. Use a Linux machine or container\.\n/,
    );
  });
});
