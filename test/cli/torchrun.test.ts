// torchrun in our launcher's place: two ranks of the command line train to the same end, and a rank killed fails them all.
// Covers distributed/rank, process-group.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { startCommand } from '../helpers/command.js';
import { freePort, pythonWithTorch } from '../helpers/ranks.js';
import { assertSameResult, RESULTS } from '../helpers/same-results.js';
import { TinyRuns } from '../helpers/tiny-run.js';

const found = pythonWithTorch();
const tiny = new TinyRuns();
before(() => tiny.write());

/** `torchrun --nproc_per_node=2 --no-python node dist/cli.js …`. */
async function torchrun(python: string, args: readonly string[]) {
  const port = String(await freePort());
  const launcher = ['-m', 'torch.distributed.run', '--nproc_per_node=2', '--master_port', port, '--no-python'];
  return startCommand(args, [python, ...launcher]);
}

test('torchrun --no-python trains to the end of our own launcher, bit for bit', async (t) => {
  if ('absent' in found) return t.skip(found.absent);
  const steps = ['--log_every', '1', '--max_steps', '8', '--save_every', '2'];
  const command = await torchrun(found.python, tiny.args('torchrun', ...steps));
  const { code, stdout, stderr } = await command.ended;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^Train Epoch: \[1\] {2}\[1\/6\]/m); // 48 rows, 4 on each of 2 ranks
  const own = await tiny.run('own', '--nproc_per_node', '2', ...steps);
  assert.equal(own.code, 0, own.stderr);
  for (const name of RESULTS) assertSameResult(name, tiny.path('own'), tiny.path('torchrun'));
});

test('a rank killed under torchrun fails the command, and leaves no process behind', async (t) => {
  if ('absent' in found) return t.skip(found.absent);
  const command = await torchrun(found.python, tiny.args('killed', '--log_every', '1', '--set', 'max_epoch=1000'));
  await command.says('Train Epoch: [0]');
  process.kill(await command.rank(1), 'SIGKILL');
  const { code, stderr } = await command.ended;
  assert.equal(code, 1);
  assert.match(stderr, /Signal 9 \(SIGKILL\) received/);
  await command.gone();
});
