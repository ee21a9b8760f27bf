// Ranks from the environment, as torchrun, our launcher and Slurm set it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { firstSlurmHost, rankFromEnvironment, restartedSince } from '#blip/distributed/rank.js';

test('nothing set: a process of its own', () => {
  assert.equal(rankFromEnvironment({}), undefined);
  assert.equal(rankFromEnvironment({ RANK: '1' }), undefined);
});

test('torchrun', () => {
  const env = {
    RANK: '3',
    WORLD_SIZE: '8',
    LOCAL_RANK: '1',
    LOCAL_WORLD_SIZE: '4',
    MASTER_ADDR: 'node7',
    MASTER_PORT: '1234',
    TORCHELASTIC_USE_AGENT_STORE: 'True',
    TORCHELASTIC_RESTART_COUNT: '2',
    SLURM_PROCID: '5',
  };
  assert.deepEqual(rankFromEnvironment(env), {
    rank: 3,
    worldSize: 8,
    localRank: 1,
    localWorldSize: 4,
    masterAddr: 'node7',
    masterPort: 1234,
    agentStore: true,
    restarts: 2,
  });
});

test('Slurm: size from the flag or the tasks, address from the list of hosts, port from the job', () => {
  const env = {
    SLURM_PROCID: '5',
    SLURM_NTASKS: '8',
    SLURM_LOCALID: '1',
    SLURM_JOB_NODELIST: 'gpu[07-09,12],big',
    SLURM_JOB_ID: '4711',
  };
  const expected = {
    rank: 5,
    worldSize: 8,
    localRank: 1,
    masterAddr: 'gpu07',
    masterPort: 24711,
    agentStore: false,
    restarts: 0,
  };
  assert.deepEqual(rankFromEnvironment(env), expected);
  assert.equal(rankFromEnvironment(env, { worldSize: 6 })?.worldSize, 6);
  const named = rankFromEnvironment({ ...env, MASTER_ADDR: 'head', MASTER_PORT: '99' });
  assert.deepEqual([named?.masterAddr, named?.masterPort], ['head', 99]);
});

test('lists of hosts', () => {
  const lists = { 'a,b': 'a', 'n[3-5]': 'n3', 'n[03,07]-ib,x': 'n03-ib', 'single.domain': 'single.domain' };
  for (const [list, first] of Object.entries(lists)) assert.equal(firstSlurmHost(list), first);
});

test('what is no number, or too large, is refused', () => {
  assert.throws(() => rankFromEnvironment({ RANK: 'one', WORLD_SIZE: '2' }), /variable RANK but received 'one'/);
  assert.throws(() => rankFromEnvironment({ RANK: '2', WORLD_SIZE: '2' }), /RANK is 2 but there are only 2/);
  assert.throws(
    () => rankFromEnvironment({ RANK: '0', WORLD_SIZE: '2', MASTER_PORT: '70000' }),
    /from 1 to 65535 in the environment variable MASTER_PORT/,
  );
});

test('a restart is known only after one, and only from our launcher', () => {
  assert.equal(restartedSince({ BLIP_LAUNCHED_AT: '1700000000000', TORCHELASTIC_RESTART_COUNT: '0' }), undefined);
  assert.equal(restartedSince({ TORCHELASTIC_RESTART_COUNT: '2' }), undefined);
  assert.equal(restartedSince({ BLIP_LAUNCHED_AT: '1700000000000', TORCHELASTIC_RESTART_COUNT: '1' }), 1700000000000);
});
