// Several ranks: one more than there are GPUs, NCCL alone, all GPUs of the machine, and a rank that is killed.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { demand, failed, failedTests, lastLine, readText, root, skipped, telling } from './context.mjs';
import { cli } from './runs.mjs';

export async function oneRankTooMany(context) {
  const ranks = context.found.gpus + 1;
  const result = await cli(context, 'too-many', [
    '--device',
    'cuda',
    '--max_steps',
    '2',
    '--nproc_per_node',
    String(ranks),
  ]);
  const said = telling(result.text).find((line) => /GPU/.test(line)) ?? '';
  const isDefect = /defect of/.test(result.text);
  if (result.timedOut || result.code === 0 || said === '' || isDefect)
    throw failed(
      `${ranks} ranks, ${context.found.gpus} GPUs: no sentence that names GPUs (finding 3); ${lastLine(result)}`,
    );
  return `exit ${result.code}: ${said.slice(0, 110)}`;
}

export async function ncclAlone(context) {
  const test = join(root, '.build/test/gpu/nccl.gpu-test.js');
  const result = await context.node('nccl', ['--test', '--test-reporter=tap', test], {
    env: { NCCL_DEBUG: 'VERSION' },
  });
  if (result.timedOut || result.code !== 0) throw failed(failedTests(result.text).join('; ') || lastLine(result));
  const version = /NCCL version (\S+)/.exec(result.text)?.[1];
  return `its communicator starts and ends${version ? `; NCCL ${version}` : ''}`;
}

/** Process ids of the ranks below `ancestor` by their number. */
function ranksOf(output) {
  const ranks = new Map();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    let variables = '';
    try {
      if (!readText(`/proc/${pid}/cmdline`).includes(output)) continue;
      variables = readText(`/proc/${pid}/environ`);
    } catch {
      continue; // it has ended, or is another user's
    }
    const rank = /(?:^|\0)RANK=(\d+)\0/.exec(variables)?.[1];
    if (rank !== undefined) ranks.set(Number(rank), Number(pid));
  }
  return ranks;
}

export async function severalGpus(context) {
  if (context.found.gpus < 2) throw skipped('there is one GPU; docs/gpu.md says what to run where there are several');
  const env = { NCCL_DEBUG: 'WARN' };
  const all = ['--device', 'cuda', '--nproc_per_node', 'gpu', '--set', 'batch_size_train=2'];
  const whole = demand(
    await cli(context, 'several', [...all, '--max_steps', '20'], { env }),
    `training on ${context.found.gpus} GPUs`,
  );
  let killed = 0;
  const watch = (_pid, text) => {
    if (killed !== 0 || !text.includes('Train Epoch: [1]')) return;
    const victim = ranksOf(context.path('killed')).get(1);
    if (victim === undefined) return;
    killed = performance.now();
    process.kill(victim, 'SIGKILL');
  };
  const result = await cli(context, 'killed', [...all, '--set', 'max_epoch=500'], { env, watch });
  if (killed === 0) throw failed(`training did not come to its second epoch: ${lastLine(result)}`);
  const seconds = (performance.now() - killed) / 1000;
  const said = telling(result.text).at(-1)?.slice(0, 90);
  context.figure('end after a rank is killed', seconds, {
    unit: 's',
    expected: '< 35, exit 1',
    ok: seconds < 35 && result.code === 1,
  });
  if (result.timedOut || result.code !== 1 || !/rank 1|Rank 1/.test(result.text))
    throw failed(`a killed rank (findings 6, 7): ${lastLine(result)}`);
  const warnings = telling(whole.text).filter((line) => / NCCL WARN /.test(line)).length;
  return `${context.found.gpus} GPUs train, ${warnings} warnings of NCCL; a killed rank: ${said}`;
}
