// What a command has printed reaches its reader, however slow; a reader that goes and a full disk are as before.
// Covers commands/main.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { before, test } from 'node:test';
import { writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { temporaryFolder } from '../helpers/files.js';
import { cliPath, runCli } from '../helpers/run-cli.js';

const folder = temporaryFolder();
const many = `${folder}/many.pth`;
const TENSORS = 6000; // some 500 kB of JSON; a pipe holds 64 KiB

before(async () => {
  const tensor = { dtype: 'float32', shape: [1], data: new Uint8Array(4) } as const;
  const names = Array.from({ length: TENSORS }, (_, i) => `a.name.as.long.as.those.of.layers.${i}`);
  await writeCheckpoint(many, { model: new Map(names.map((name) => [name, tensor])) });
});

/** Runs `node cli.js ARGS` with one of its streams in a pipe whose reader sleeps for half a second first. */
async function readLate(args: readonly string[], stream: 'stdout' | 'stderr'): Promise<{ code: number; text: string }> {
  const only = stream === 'stdout' ? '' : '2>&1 >/dev/null';
  const script = `"$@" ${only} | (sleep 0.5; cat); exit "\${PIPESTATUS[0]}"`;
  const child = spawn('bash', ['-c', script, 'bash', process.execPath, cliPath, ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => (text += part));
  const code = await new Promise<number>((resolve) => child.on('close', (status) => resolve(status ?? -1)));
  return { code, text };
}

for (const flags of [['--all'], ['--json'], ['--json', '--stats']])
  test(`inspect ${flags.join(' ')} prints all of it to a reader that sleeps first`, async () => {
    const { code, text } = await readLate(['inspect', many, ...flags], 'stdout');
    assert.equal(code, 0);
    if (flags.includes('--json')) assert.equal(Object.keys(JSON.parse(text).tensors).length, TENSORS);
    else assert.match(text, new RegExp(`^${TENSORS} tensors, ${TENSORS} elements$`, 'm'));
  });

test('a long error is printed to its end, and the exit code kept', async () => {
  const name = 'x'.repeat(120_000);
  for (const [args, expected] of [
    [['inspect', name], 1],
    [[`--${name}`], 2],
  ] as const) {
    const { code, text } = await readLate(args, 'stderr');
    assert.equal(code, expected);
    assert.ok(text.length > name.length && text.endsWith('\n'), `${text.length} characters`);
  }
});

/** The exit codes of the parts of a pipe of bash. */
async function pipeStatus(reader: string): Promise<string> {
  const script = `"$0" "$1" inspect "$2" --json | ${reader} > /dev/null; echo "\${PIPESTATUS[0]}"`;
  const child = spawn('bash', ['-c', script, process.execPath, cliPath, many], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.resume();
  await new Promise((resolve) => child.on('close', resolve));
  return stdout.trim();
}

test('a reader that leaves in the middle ends the command with 141', async () => {
  for (const reader of ['head -1', '(sleep 0.3; head -1)', 'sleep 0.3']) assert.equal(await pipeStatus(reader), '141');
  assert.equal(await pipeStatus('cat'), '0');
});

test('a full disk under standard output or standard error is exit code 1', async () => {
  for (const redirection of ['> /dev/full', '> /dev/full 2> /dev/full']) {
    const script = `"$0" "$1" inspect "$2" --json ${redirection}`;
    const child = spawn('sh', ['-c', script, process.execPath, cliPath, many], { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    assert.equal(await new Promise((resolve) => child.on('close', resolve)), 1);
    if (!redirection.includes('2>'))
      assert.match(stderr, /^error: Standard output cannot be written: the disk is full/);
  }
});

test('a limit of 64 open files gets a sentence, and an account without a home does without one', async (t) => {
  // Val is there and test is not: an error about own annotations, and nothing is fetched.
  writeFileSync(`${folder}/coco_karpathy_val.json`, '[]');
  const data = `dataset: coco, ann_root: '${folder}', image_root: '${folder}', image_size: 32`;
  writeFileSync(`${folder}/limited.yaml`, `{ ${data}, vit: tiny, batch_size_test: 1, k_test: 1 }`);
  const args = ['--evaluate', '--config', `${folder}/limited.yaml`, '--output_dir', `${folder}/out`];
  // Node warns of certificates that the limit keeps it from reading.
  const { NODE_EXTRA_CA_CERTS: _certificates, ...env } = process.env;
  const shell = (script: string) =>
    new Promise<string>((resolve) => {
      const child = spawn('sh', ['-c', script, process.execPath, cliPath, ...args], {
        stdio: ['ignore', 'ignore', 'pipe'],
        env,
      });
      let stderr = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
      child.on('close', () => resolve(stderr));
    });
  for (const limit of [22, 30, 64]) {
    const said = await shell(`ulimit -n ${limit}; "$0" "$@"`);
    // How many files Node itself has open differs between its versions: what remains may just do, or not.
    assert.doesNotMatch(said, /This is a defect|at .*\.js:\d+/, String(limit));
    if (said.includes('EMFILE')) assert.match(said, /^error: .*too many open files.*ulimit -n 4096"\.\n$/);
    else assert.match(said, /^(error: .*\.\n)?$/, String(limit));
  }
  if (process.getuid?.() !== 0) return t.skip('another user needs root');
  // Without a home folder the caches are below /, as in a container: doctor says so, and nothing ends in a defect.
  const said = await shell('env -i setpriv --reuid=12345 --clear-groups "$0" "$1" doctor >&2');
  assert.match(said, /\/\.cache\/blip-retrieval/);
  assert.doesNotMatch(said, /This is a defect|at .*\.js:\d+/);
});

test('--help is printed whole', async () => {
  const { text } = await readLate(['--help'], 'stdout');
  assert.equal(text, (await runCli(['--help'])).stdout);
});
