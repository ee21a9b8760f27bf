// Two machines, each a network namespace with a cable between them: they train to what two processes of one machine do,
// and both commands end when the other machine is killed or the cable is cut.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, END_WITHIN_SECONDS, startCommand } from '../../helpers/command.js';
import { assertSameResult, RESULTS } from '../../helpers/same-results.js';
import { NotRun, runTrial, type Trial, type TrialOptions } from './trial.js';

const STEPS = 8;
const COLLECTIVE_TIMEOUT = 6;
const PORT = '29511';
const addresses = ['10.77.0.1', '10.77.0.2'] as const;

type MachineOptions = Pick<TrialOptions, 'folder' | 'config' | 'report'>;

function ip(...args: string[]): void {
  const { status, error, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new NotRun(`ip ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
}

/** Runs `body` with the names of two namespaces that see each other, and nothing else. */
async function withMachines<T>(body: (names: readonly [string, string]) => Promise<T>): Promise<T> {
  const names = [`blip-${process.pid}-0`, `blip-${process.pid}-1`] as const;
  try {
    for (const name of names) ip('netns', 'add', name);
    ip('link', 'add', 'cable', 'netns', names[0], 'type', 'veth', 'peer', 'name', 'cable', 'netns', names[1]);
    for (const [index, name] of names.entries()) {
      ip('-n', name, 'addr', 'add', `${addresses[index]}/24`, 'dev', 'cable');
      for (const device of ['lo', 'cable']) ip('-n', name, 'link', 'set', device, 'up');
    }
    return await body(names);
  } finally {
    for (const name of names) spawnSync('ip', ['netns', 'del', name]);
  }
}

/** Starts one rank on each machine. Each has its own folder, as machines do that share none. */
function startBoth(
  { config }: MachineOptions,
  output: string,
  names: readonly string[],
  more: readonly string[],
): Command[] {
  return names.map((name, index) => {
    const folder = join(output, String(index));
    mkdirSync(folder, { recursive: true });
    return startCommand(
      [
        ...['--nnodes', '2', '--node_rank', String(index), '--master_addr', addresses[0], '--master_port', PORT],
        ...['--config', config, '--output_dir', folder, '--device', 'cpu', '--log_every', '1', ...more],
      ],
      ['ip', 'netns', 'exec', name],
    );
  });
}

async function sameResult(options: MachineOptions): Promise<string> {
  const { folder, config } = options;
  const one = join(folder, 'one-machine');
  const two = join(folder, 'two-machines');
  const steps = ['--max_steps', String(STEPS)];
  await withMachines(async (names) => {
    for (const { ended } of startBoth(options, two, names, steps)) {
      const { code, stderr } = await ended;
      assert.equal(code, 0, stderr);
    }
  });
  const { code, stderr } = await startCommand([
    ...[
      '--nproc_per_node',
      '2',
      '--config',
      config,
      '--output_dir',
      one,
      '--device',
      'cpu',
      '--log_every',
      '1',
      ...steps,
    ],
  ]).ended;
  assert.equal(code, 0, stderr);
  for (const name of RESULTS) assertSameResult(name, one, join(two, '0'));
  for (const output of [one, two]) rmSync(output, { recursive: true });
  return `${STEPS} steps and an evaluation: bit-equal`;
}

/** Does `harm` once both train; the commands that are left to end by themselves must fail in time and leave nothing. */
async function harmed(
  options: MachineOptions,
  seconds: number,
  harm: (commands: readonly Command[], names: readonly [string, string]) => readonly Command[],
): Promise<string> {
  return withMachines(async (names) => {
    const output = join(options.folder, 'harmed');
    const more = ['--set', 'max_epoch=1000', '--collective_timeout', String(COLLECTIVE_TIMEOUT)];
    const commands = startBoth(options, output, names, more);
    await commands[0]?.says('Train Epoch: [1]');
    const started = performance.now();
    const left = harm(commands, names);
    const took: string[] = [];
    for (const { ended } of left) {
      const { code, stderr } = await ended;
      const passed = (performance.now() - started) / 1000;
      assert.equal(code, 1, stderr);
      assert.ok(passed < seconds, `it took ${passed} s to end`);
      assert.match(
        stderr.trim().split('\n').at(-1) ?? '',
        /^error: First cause, rank \d: Rank \d (lost the connection|waited)/,
      );
      took.push(passed.toFixed(1));
    }
    for (const command of commands) await command.gone(0);
    rmSync(output, { recursive: true });
    return `ended with 1 after ${took.join(' and ')} s`;
  });
}

export async function runMachineTrials(options: MachineOptions): Promise<Trial[]> {
  const killed = (commands: readonly Command[]) => {
    for (const pid of commands[1]?.processes() ?? []) process.kill(pid, 'SIGKILL');
    return commands.slice(0, 1);
  };
  const cut = (commands: readonly Command[], names: readonly [string, string]) => {
    ip('-n', names[0], 'link', 'set', 'cable', 'down');
    return commands;
  };
  const ways: [string, () => Promise<string>][] = [
    ['two machines and one', () => sameResult(options)],
    ['the second machine killed', () => harmed(options, END_WITHIN_SECONDS, killed)],
    ['the cable cut', () => harmed(options, END_WITHIN_SECONDS + COLLECTIVE_TIMEOUT, cut)],
  ];
  const done: Trial[] = [];
  for (const [index, [drawn, body]] of ways.entries())
    done.push(await runTrial(options, { subject: 'machines', number: index + 1, drawn }, body));
  return done;
}
