// Signals of terminals, shells, Slurm and containers: what was trained is saved, the exit code is a shell's, no debugger opens.
// Covers distributed/signals, first-process, launcher; training/stop-signals; cli.ts.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { before, test } from 'node:test';
import { type Command, startCommand } from '../helpers/command.js';
import { hostTest, testDevice } from '../helpers/device.js';
import { cliPath } from '../helpers/run-cli.js';
import { runNodeWith } from '../helpers/run-node.js';
import { TinyRuns, tinyData } from '../helpers/tiny-run.js';

const tiny = new TinyRuns({ few: true, changes: { max_epoch: 1000 } });
before(() => tiny.write());

/** As a shell gives it. */
async function exitCode(command: Command): Promise<number> {
  const { code, signal } = await command.ended;
  return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}

// Where there are GPUs, another signal is another name for the same. test/cli/train has one rank there.
const onDevice = testDevice === 'cpu' ? (['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) : (['SIGHUP'] as const);
for (const signal of onDevice)
  for (const ranks of testDevice === 'cpu' ? ['1', '2'] : ['2'])
    test(`${signal} saves and stops training in ${ranks} processes, exit code ${128 + constants.signals[signal]}`, async () => {
      const output = `${signal}-${ranks}`;
      const command = tiny.start(output, '--nproc_per_node', ranks);
      await command.says('Train Epoch: [0]');
      command.kill(signal);
      assert.equal(await exitCode(command), 128 + constants.signals[signal]);
      const { stdout, stderr } = await command.ended;
      assert.match(stdout, new RegExp(`^Stopped by ${signal} after \\d+ steps?; checkpoint_last\\.pth is saved`, 'm'));
      assert.doesNotMatch(stderr, /[Dd]ebugger/);
      await command.gone();
      const next = String(Number(/ after (\d+) step/.exec(stdout)?.[1]) + 1);
      const resumed = await tiny.run(output, '--nproc_per_node', ranks, '--resume', '--max_steps', next);
      assert.equal(resumed.code, 0, resumed.stderr);
      assert.match(resumed.stdout, new RegExp(`^Stopped after ${next} steps;`, 'm'));
    });

hostTest('while annotations are read nothing is to be saved, and every signal ends the command at once', async () => {
  for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGTERM'] as const) {
    // A named pipe that nobody writes to is read for ever.
    const annotations = tiny.path(`${signal}-annotations`);
    spawnSync('sh', [
      '-c',
      `cp -r ${tiny.annRoot} ${annotations} && cd ${annotations} && rm *_val.json && mkfifo coco_karpathy_val.json`,
    ]);
    const command = tiny.start(`${signal}-reading`, '--set', `ann_root=${annotations}`);
    await command.says('Creating retrieval dataset');
    command.kill(signal);
    assert.equal(await exitCode(command), 128 + constants.signals[signal]);
    assert.doesNotMatch((await command.ended).stderr, /[Dd]ebugger/);
  }
});

const underNohup: [name: string, before: string[]][] = [
  ['nohup of bash', ['bash', '-c', 'nohup "$@"', 'bash']],
  ['a script under nohup', ['nohup', 'sh', '-c', '"$@"; exit $?', 'sh']],
  ["trap '' HUP", ['sh', '-c', 'trap "" HUP; "$@"; exit $?', 'sh']],
];
for (const [name, starter] of underNohup)
  hostTest(`training goes on after SIGHUP under ${name}, in one process and in two`, async () => {
    for (const ranks of name === 'nohup of bash' ? ['1', '2'] : ['1']) {
      // Fewer steps than an epoch has, on two ranks as well: no evaluation.
      const few = ['--max_steps', '11', '--set', 'batch_size_train=2', '--log_every', '1'];
      const args = tiny.args(`nohup${ranks}`, ...few, '--nproc_per_node', ranks);
      const command = startCommand(args, starter);
      await command.says('Train Epoch: [0]');
      const own = command.processes().filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('cli.js'));
      for (const pid of own) if (isNode(pid)) process.kill(pid, 'SIGHUP');
      const { code, stdout, stderr } = await command.ended;
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^Stopped after 11 steps/m);
    }
  });

const isNode = (pid: number) => /^node|MainThread/.test(readFileSync(`/proc/${pid}/comm`, 'utf8'));

const containers = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status === 0;
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  hostTest(`as process 1 of a container an evaluation ends on ${signal}, and training saves`, async (t) => {
    if (!containers) return t.skip('needs unshare --pid, and the rights for it');
    // Long enough that an evaluation that went on would be seen.
    const rows = JSON.parse(readFileSync(`${tinyData}/annotation/coco_karpathy_val.json`, 'utf8'));
    const annotations = tiny.path(`long-${signal}`);
    spawnSync('cp', ['-r', `${tinyData}/annotation`, annotations]);
    const long = Array.from({ length: 200 }, () => rows).flat();
    writeFileSync(`${annotations}/coco_karpathy_val.json`, JSON.stringify(long));
    for (const evaluates of [true, false]) {
      const output = `container-${signal}-${evaluates}`;
      const more = evaluates ? ['--evaluate', '--set', `ann_root=${annotations}`] : [];
      const command = startCommand(tiny.args(output, ...more), ['unshare', '--pid', '--fork', '--mount-proc']);
      await command.says(evaluates ? 'Computing features' : 'Train Epoch: [0]');
      const first = firstProcess(command.pid);
      process.kill(first, signal);
      const code = await exitCode(command);
      assert.equal(code, 128 + constants.signals[signal]);
      const { stdout } = await command.ended;
      if (evaluates) assert.doesNotMatch(stdout, /r_mean/);
      else assert.ok(existsSync(tiny.path(output, 'checkpoint_last.pth')));
      await command.gone();
    }
  });

/** The process that `unshare --fork` has started. */
function firstProcess(parent: number): number {
  return Number(readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(' ')[0]);
}

hostTest('SIGUSR1 while Node begins leaves no debugger open', async () => {
  const preload = tiny.path('early.cjs');
  writeFileSync(
    preload,
    `const inspector = require('node:inspector');
    process.kill(process.pid, 'SIGUSR1');
    while (inspector.url() === undefined) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);`,
  );
  const { code, signal, stdout } = await runNodeWith(['-r', preload, cliPath, 'doctor']);
  assert.deepEqual([code, signal, stdout], [null, 'SIGUSR1', '']);
});

hostTest('no command opens the debugger at SIGUSR1', async () => {
  const command = startCommand(['demo', '--output_dir', tiny.path('demo'), '--epochs', '0']);
  await command.says('Drawing');
  command.kill('SIGUSR1');
  assert.equal(await exitCode(command), 138);
  assert.doesNotMatch((await command.ended).stderr, /[Dd]ebugger/);
});
