// Flags of a launcher beside variables of a launcher: who starts the ranks, and what is said of it.
// Covers commands/start, options; distributed/failures.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { startCommand } from '../helpers/command.js';
import { freePort } from '../helpers/ranks.js';
import { runCli } from '../helpers/run-cli.js';
import { TinyRuns } from '../helpers/tiny-run.js';

const tiny = new TinyRuns();
before(() => tiny.write());

const TWO_RANKS = /^Train Epoch: \[0\] {2}\[0\/6\]/m; // 48 rows, 4 on each of 2 ranks

for (const variables of [
  { RANK: '0', WORLD_SIZE: '1' },
  { SLURM_PROCID: '0', SLURM_NTASKS: '1', SLURM_LOCALID: '0', SLURM_JOB_ID: '7' },
  { SLURM_PROCID: '0', SLURM_NTASKS: '4' }, // the script of a batch job of four tasks
])
  test(`--nproc_per_node 2 starts two ranks under ${JSON.stringify(variables)}, and says so`, async () => {
    const args = tiny.args('one', '--nproc_per_node', '2', '--max_steps', '1', '--log_every', '1');
    const { code, stdout, stderr } = await runCli(args, { ...variables, OMP_NUM_THREADS: '1' });
    assert.equal(code, 0, stderr);
    assert.match(stdout, TWO_RANKS);
    assert.match(stdout, /^.*--nproc_per_node 2 starts its own ranks.*\n/);
  });

test('two machines with a rank each by their variables: the launcher starts ranks of both', async () => {
  const port = String(await freePort());
  const machine = (rank: string) => {
    const variables = [`RANK=${rank}`, 'WORLD_SIZE=2', 'MASTER_ADDR=127.0.0.1', `MASTER_PORT=${port}`];
    return startCommand(
      tiny.args('machines', '--nnodes', '2', '--nproc_per_node', '1', '--max_steps', '1', '--log_every', '1'),
      ['env', ...variables],
    );
  };
  const [first, second] = [machine('0'), machine('1')];
  const { code, stdout, stderr } = await first.ended;
  assert.equal(code, 0, stderr);
  assert.equal((await second.ended).code, 0);
  assert.match(stdout, /^RANK and WORLD_SIZE are taken as machine 0 of 2; --nproc_per_node 1 starts the ranks/);
  assert.match(stdout, TWO_RANKS);
  assert.match(
    stderr,
    new RegExp(`^Rank 0 of 2 waits for rank 1 at 127\\.0\\.0\\.1:${port}, for at most 300 s\\.$`, 'm'),
  );
});

test('flags that contradict the variables, or each other, are refused', async () => {
  const eight = { RANK: '3', WORLD_SIZE: '8' };
  for (const [args, env, message] of [
    [
      ['--nproc_per_node', '2'],
      eight,
      /^error: RANK and WORLD_SIZE say that this is process 3 of 8, and --nproc_per_node 2 asks/,
    ],
    [['--standalone', '--nnodes', '2'], {}, /^error: --standalone is one machine, and --nnodes says 2/],
    [
      ['--nnodes', '2', '--rdzv_endpoint', 'head:29400'],
      {},
      /^error: --rdzv_endpoint gives no numbers to the 2 machines/,
    ],
    [['--rdzv_endpoint', 'head:x'], {}, /argument 'head:x' is invalid/],
    [
      ['--nproc_per_node', 'gpu'],
      {},
      /^error: --nproc_per_node gpu needs a GPU, but --device cpu leaves all GPUs alone\./,
    ],
  ] as const) {
    const { code, stderr } = await runCli(tiny.args('refused', ...args), env);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
  }
});

test('a rank that waits for others says at once for whom, where and how long', async () => {
  const port = String(await freePort());
  for (const [rank, whom] of [
    ['0', 'ranks 1 to 3'],
    ['2', 'rank 0'],
  ]) {
    const variables = [`RANK=${rank}`, 'WORLD_SIZE=4', `MASTER_PORT=${port}`, 'MASTER_ADDR=127.0.0.1'];
    const args = tiny.args('alone', '--evaluate', '--nproc_per_node=4');
    // Standard error into standard output, which can be waited for.
    const command = startCommand(args, ['env', ...variables, 'sh', '-c', 'exec "$@" 2>&1', 'sh']);
    await command.says(`Rank ${rank} of 4 waits for ${whom} at 127.0.0.1:${port}, for at most 300 s.`);
    command.kill('SIGKILL');
    const { stdout } = await command.ended;
    if (rank === '0') assert.match(stdout, /^RANK and WORLD_SIZE say that this is rank 0 of 4, started already/);
  }
});

test('the flags of torchrun that mean something are taken, the others named once', async () => {
  const unneeded = ['--rdzv_backend=c10d', '--rdzv-id', '7', '--tee', '3', '-r', '3', '--log-dir', 'x', '--use_env'];
  const more = ['--role', 'a', '--start_method=spawn', '--monitor_interval', '1', '--run_path', '--local-rank=0'];
  const taken = ['--standalone', '--nproc-per-node=2', '--rdzv-endpoint=localhost:0', '--max_steps', '1'];
  const { code, stdout, stderr } = await tiny.run('torchrun', ...taken, ...unneeded, ...more, '--log_every', '1');
  assert.equal(code, 0, stderr);
  assert.match(stdout, TWO_RANKS);
  const named = stdout.match(/^(.*): taken for torchrun's sake, but not needed here/gm) ?? [];
  assert.equal(named.length, 1);
  for (const name of ['rdzv_backend', 'rdzv_id', 'tee', 'redirects', 'log_dir', 'use_env', 'role', 'start_method'])
    assert.match(named.join(), new RegExp(`--${name}\\b`));
  assert.doesNotMatch(named.join(), /standalone|endpoint|local_rank/);
});

test('--rdzv_endpoint is where the ranks of two machines meet', async () => {
  const port = String(await freePort());
  const args = ['--nnodes=2', '--node_rank=1', `--rdzv_endpoint=127.0.0.1:${port}`, '--evaluate'];
  const command = startCommand(tiny.args('meeting', ...args), ['sh', '-c', 'exec "$@" 2>&1', 'sh']);
  await command.says(`Rank 1 of 2 waits for rank 0 at 127.0.0.1:${port}`);
  command.kill('SIGTERM');
  assert.equal((await command.ended).code, 143);
});

test('a network interface that is not there is named', async () => {
  const { code, stderr } = await runCli(tiny.args('card', '--nproc_per_node=2', '--evaluate'), {
    GLOO_SOCKET_IFNAME: 'nowhere0',
  });
  assert.equal(code, 1);
  assert.match(
    stderr,
    /error: Rank \d finds no network interface 'nowhere0' with an address\. Correct GLOO_SOCKET_IFNAME/,
  );
});
