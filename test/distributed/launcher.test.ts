// The launcher: the ranks' environment, and that all of them end, with one cause named, whatever happens to any of them.
// Covers distributed/launcher, rank-process, lines, parent.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { processesPerNode } from '#blip/distributed/launcher.js';
import { childrenOf, type Ended, isAlive, type Running, startLauncher } from '../helpers/ranks.js';

/** Ranks of a launcher that runs, and how it ends after `act`; asserts that none of them is left. */
async function endAfter(launcher: Running, text: string, act: (ranks: number[]) => void): Promise<Ended> {
  await launcher.says(text);
  const ranks = childrenOf(launcher.pid);
  assert.equal(ranks.length, 2);
  act(ranks);
  const ended = await launcher.ended;
  assert.deepEqual(ranks.filter(isAlive), []);
  return ended;
}

test('ranks get the environment of torchrun, and the launcher rank 0 stdout and exit code 0', async () => {
  const { code, stdout, stderr } = await startLauncher(2, 'environment').ended;
  assert.equal(code, 0, stderr);
  const { masterPort, ...first } = JSON.parse(stdout);
  const common = { worldSize: 2, localWorldSize: 2, masterAddr: '127.0.0.1', agentStore: false, restarts: 0 };
  const variables = { OMP_NUM_THREADS: '1', LOCAL_WORLD_SIZE: '2' };
  assert.deepEqual(first, { rank: 0, localRank: 0, LOCAL_RANK: '0', ...common, ...variables });
  const second = JSON.parse(/^\[rank 1\] (\{.*\})$/m.exec(stderr)?.[1] ?? '');
  assert.deepEqual(second, { masterPort, rank: 1, localRank: 1, LOCAL_RANK: '1', ...common, ...variables });
});

test('the ranks of the second of two machines count on', async () => {
  const options = { nnodes: 2, nodeRank: 1, masterAddr: '127.0.0.1', masterPort: 1 };
  const { code, stderr } = await startLauncher(2, 'environment', options, { JOIN_MS: '300' }).ended;
  assert.equal(code, 1);
  assert.match(stderr, /Rank [23] of 4 found no rank 0 at 127\.0\.0\.1:1 /);
});

test('a rank that throws: exit code 1, its rank, pid and words in the last lines', async () => {
  const { code, stdout, stderr } = await startLauncher(2, 'lastThrows').ended;
  assert.equal(code, 1);
  assert.equal(stdout, '');
  const lines = stderr.trim().split('\n');
  assert.match(
    lines.at(-2) ?? '',
    /^error: Rank 1 \(pid \d+\) ended with exit code 1; the other rank was terminated\.$/,
  );
  assert.equal(lines.at(-1), 'error: First cause, rank 1: the last rank has had enough');
  assert.match(stderr, /^\[rank 1\] error: the last rank has had enough$/m);
});

test('a rank killed by -9 is the first cause, not the one that lost it', async () => {
  const { code, stderr } = await endAfter(startLauncher(2, 'exchange'), 'exchanging', (ranks) => {
    process.kill(Math.max(...ranks), 'SIGKILL');
  });
  assert.equal(code, 1);
  assert.match(stderr, /^error: Rank 1 \(pid \d+\) was killed by SIGKILL/m);
});

test('a rank that hangs ends with the others after the timeout of the collective', async () => {
  const launcher = startLauncher(2, 'lastHangs', {}, { COLLECTIVE_MS: '1000' });
  const { code, stderr } = await endAfter(launcher, 'hanging', () => {});
  assert.equal(code, 1);
  assert.match(stderr, /^error: Rank 0 \(pid \d+\) ended with exit code 1; the other rank was terminated\.$/m);
  assert.match(stderr, /^error: First cause, rank 0: Rank 0 waited longer than 1 s/m);
});

test('a suspended rank ends too, and is named as the cause of the other one’s failure', async () => {
  const launcher = startLauncher(2, 'exchange', {}, { COLLECTIVE_MS: '1000' });
  let pid = 0;
  const { code, stderr } = await endAfter(launcher, 'exchanging', (ranks) => {
    pid = Math.max(...ranks);
    process.kill(pid, 'SIGSTOP');
  });
  assert.equal(code, 1);
  const lines = stderr.trim().split('\n');
  const suspended = `error: Rank 1 (pid ${pid}) was suspended (SIGSTOP or a debugger); all ranks were terminated.`;
  assert.equal(lines.at(-2), suspended);
  assert.match(lines.at(-1) ?? '', /^error: First cause, rank 1: it was suspended\. Rank 0 waited longer than 1 s /);
});

for (const suspended of [false, true])
  test(`a rank that ${suspended ? 'is suspended' : 'stays'} when the other has finished is terminated`, async () => {
    const launcher = startLauncher(2, 'lastStays', { graceMs: 500 }, { PATIENCE_MS: '300' });
    const { code, stderr } = await endAfter(launcher, 'done', (ranks) => {
      if (suspended) process.kill(Math.max(...ranks), 'SIGSTOP');
    });
    assert.equal(code, 1);
    const sentence = suspended
      ? /^error: First cause, rank 1: it was suspended\. The other ranks had finished\.$/m
      : /^error: The other ranks had finished, but rank 1 \(pid \d+\) did not end and had to be terminated\.$/m;
    assert.match(stderr, sentence);
  });

for (const [signal, expected] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test(`${signal}: ranks that end by themselves, exit code ${expected}`, async () => {
    const launcher = startLauncher(2, 'asked');
    const { code, stderr } = await endAfter(launcher, 'ready', () => launcher.kill(signal));
    assert.equal(code, expected, stderr);
    assert.equal(stderr.replace('[rank 1] ready\n', ''), '');
  });

  test(`${signal}: ranks that do not react are killed, exit code ${expected}`, async () => {
    const launcher = startLauncher(2, 'deaf', { graceMs: 500 });
    const { code } = await endAfter(launcher, 'deaf', () => launcher.kill(signal));
    assert.equal(code, expected);
  });
}

test('a launcher killed by -9 leaves no rank behind', async () => {
  const launcher = startLauncher(2, 'exchange');
  await launcher.says('exchanging');
  const ranks = childrenOf(launcher.pid);
  assert.equal(ranks.length, 2);
  launcher.kill('SIGKILL');
  for (let tries = 0; ranks.some(isAlive) && tries < 600; tries++) await sleep(50);
  assert.deepEqual(ranks.filter(isAlive), []);
});

test('ranks are started again after a failure, as often as is allowed', async () => {
  const { code, stdout, stderr } = await startLauncher(2, 'failsAtFirst', { maxRestarts: 1 }).ended;
  assert.equal(code, 0, stderr);
  assert.deepEqual(JSON.parse(stdout), { restarts: 1 });
  assert.match(stderr, /^error: First cause, rank 1: the first time it does not work/m);
  assert.match(stderr, /^Starting the ranks again \(1 of at most 1 restarts\)\.$/m);
});

test('auto, cpu and gpu as a number of processes', () => {
  const none = { count: 0, problem: 'this machine has no NVIDIA driver' };
  assert.equal(processesPerNode('3', none), 3);
  assert.equal(processesPerNode('auto', { count: 2 }), 2);
  assert.equal(processesPerNode('gpu', { count: 2 }), 2);
  assert.equal(processesPerNode('auto', none), processesPerNode('cpu', { count: 5 }));
  assert.throws(() => processesPerNode('gpu', none), {
    name: 'UserError',
    exitCode: 2,
    message: '--nproc_per_node gpu needs a GPU, but this machine has no NVIDIA driver. Pass a number or cpu.',
  });
});
