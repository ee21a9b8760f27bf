// How a group on GPUs ends: when a rank is gone, late or fails, the others end too, with a sentence and the right exit code.
// Covers native/nccl_backend.cc, distributed.cc; distributed/nccl, announcement, failures, launcher.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../helpers/fixtures.js';
import { type Ended, freePort, type Running, rankVariables, start } from '../helpers/ranks.js';

const program = join(projectRoot, '.build/test/strict-cuda/rank.js');
const launcher = join(projectRoot, '.build/test/distributed/launcher-run.js');

function startRank(task: string, rank: number, port: number, env: NodeJS.ProcessEnv = {}): Running {
  return start(process.execPath, [program, task], { ...rankVariables(rank, port), ...env });
}

async function both(task: string, env: NodeJS.ProcessEnv = {}): Promise<[Running, Running]> {
  const port = await freePort();
  return [startRank(task, 0, port, env), startRank(task, 1, port, env)];
}

async function bothEnd(task: string, env: NodeJS.ProcessEnv = {}): Promise<[Ended, Ended]> {
  const [first, second] = await both(task, env);
  return Promise.all([first.ended, second.ended]);
}

const launched = (task: string, env: NodeJS.ProcessEnv = {}) =>
  start(process.execPath, [launcher, JSON.stringify({ nproc: 2, argv: [program, task] })], env).ended;

const lastLines = ({ stderr }: Ended) => stderr.trim().split('\n').slice(-2);

test('two ranks exchange, and end', async () => {
  for (const { code, stderr } of await bothEnd('finishes')) assert.deepEqual([code, stderr], [0, '']);
});

test('a rank that does not come to the end: the other aborts, and its work counts', async () => {
  const [first, second] = await both('lastStays', { PATIENCE_MS: '300' });
  const { code, stderr } = await first.ended;
  second.kill('SIGKILL');
  await second.ended;
  assert.deepEqual([code, stderr], [0, '']);
});

test("a rank that dies in NCCL's end: the other does not wait for it for ever", async () => {
  const [first, second] = await bothEnd('finishes', { STRICT_CUDA_NCCL: 'die=1:0', PATIENCE_MS: '2000' });
  assert.equal(second.signal, 'SIGKILL');
  assert.deepEqual([first.code, first.stderr], [0, '']);
});

test('an error while the group is in use keeps exit code 1, and nothing follows its sentence', async () => {
  for (const [rank, { code, signal, stderr }] of (await bothEnd('throws')).entries())
    assert.deepEqual([code, signal, stderr], [1, null, `error: rank ${rank} has had enough\n`]);
});

test("a program that leaves its group in use keeps its exit code, and Node's exit listeners run", async () => {
  for (const { code, signal, stdout, stderr } of await bothEnd('forgets'))
    assert.deepEqual([code, signal, stdout, stderr], [7, null, 'an exit listener of its own\n', '']);
});

test('a rank that hangs: after the timeout the launcher says who waited, and for what', async () => {
  const ended = await launched('exchanges', { STRICT_CUDA_NCCL: 'hang=1:3', COLLECTIVE_MS: '1500' });
  assert.equal(ended.code, 1, ended.stderr);
  const [first = '', second] = lastLines(ended);
  assert.match(
    first,
    /^error: Rank 0 \(pid \d+\) was killed by SIGABRT \(on GPUs NCCL does that when .*; the other rank/,
  );
  assert.equal(
    second,
    'error: First cause, rank 0: Rank 0 waited longer than 1.5 s for the other ranks in all_reduce. One of them hangs or is far behind: see what it printed, or allow more time with --collective_timeout.',
  );
});

for (const [name, env] of [
  ['noticed by the others', 'die=1:3,lost=error'],
  ['not noticed by them', 'die=1:3'],
] as const)
  test(`a rank that is killed, ${name}, is the first cause`, async () => {
    const ended = await launched('exchanges', { STRICT_CUDA_NCCL: env });
    assert.equal(ended.code, 1, ended.stderr);
    assert.match(ended.stderr, /^error: Rank 1 \(pid \d+\) was killed by SIGKILL/m);
  });

test('a communicator that was aborted is a lost rank', async () => {
  const [first, second] = await both('exchanges', { STRICT_CUDA_NCCL: 'fail=0:3' });
  const { code, stderr } = await first.ended;
  second.kill('SIGKILL');
  await second.ended;
  assert.deepEqual(
    [code, stderr],
    [1, 'error: Rank 0 lost the connection to another rank in all_reduce. See what that rank printed.\n'],
  );
});

test('two ranks on one GPU: a sentence', async () => {
  for (const { code, stderr } of await bothEnd('finishes', { RANK_DEVICE: 'cuda:0' })) {
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^error: Rank \d and rank \d are on the same GPU, and NCCL takes one rank a GPU\. Start no more/,
    );
  }
});

test('a rank without a GPU among others that have one: all end with a sentence', async () => {
  const port = await freePort();
  const ranks = [startRank('finishes', 0, port), startRank('finishes', 1, port, { RANK_DEVICE: 'cpu' })];
  for (const { code, stderr } of await Promise.all(ranks.map(({ ended }) => ended))) {
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^error: Rank 1 on \S+ computes on the CPU, but rank 0 on \S+ on a GPU, and all must do the same\./,
    );
  }
});

test("an addon for another NCCL than LibTorch's is refused, before the ranks wait for each other", async () => {
  const env = { STRICT_CUDA_NCCL_VERSION: '22705' };
  const { code, stderr } = await startRank('finishes', 1, await freePort(), env).ended;
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^error: NCCL's part of the addon, \S+libblip_nccl\.so, cannot be used: it was compiled for NCCL 2\.28, but LibTorch was with NCCL 2\.27\. Run /,
  );
});
