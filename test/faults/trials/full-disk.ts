// A disk that is full, or a limit on the size of files: one sentence, exit code 1, and what was saved before is whole.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { flattenCheckpoint, openCheckpoint, verifyStorages } from '#blip/torch/checkpoint/index.js';
import { startCommand } from '../../helpers/command.js';
import { NotRun, runTrial, type Trial, type TrialOptions } from './trial.js';

type DiskOptions = Pick<TrialOptions, 'folder' | 'config' | 'report'>;

const run = (config: string, output: string, more: readonly string[], before: readonly string[] = []) =>
  startCommand(['--config', config, '--output_dir', output, '--device', 'cpu', '--save_every', '1', ...more], before)
    .ended;

/** Throws unless the run has ended with one sentence about `name` in its last line. */
function assertSaid({ code, stderr }: { code: number | null; stderr: string }, name: string, reason: RegExp): void {
  const line = stderr.trim().split('\n').at(-1) ?? '';
  assert.equal(code, 1, stderr);
  assert.ok(line.startsWith('error: ') && line.includes(`${name} cannot be written: `), stderr);
  assert.match(line, reason);
  assert.doesNotMatch(stderr, /defect/);
}

/** The step of the whole checkpoint_last.pth in `output`; throws unless it is whole and nothing temporary lies beside it. */
async function stepSaved(output: string): Promise<number> {
  const checkpoint = openCheckpoint(join(output, 'checkpoint_last.pth'));
  await verifyStorages(checkpoint);
  assert.deepEqual(
    readdirSync(output).filter((name) => name.endsWith('.tmp')),
    [],
    'temporary files are left',
  );
  return Number(flattenCheckpoint(checkpoint).values.get('resume/step'));
}

/** No file may become larger than 10 MiB: what any user can have, with the errors that a full disk gives. */
async function limitedFiles({ folder, config }: DiskOptions, ranks: readonly string[]): Promise<string> {
  const output = join(folder, 'limited');
  const first = await run(config, output, ['--max_steps', '2', ...ranks]);
  assert.equal(first.code, 0, first.stderr);
  const old = readFileSync(join(output, 'checkpoint_last.pth'));
  const limit = ['sh', '-c', 'ulimit -f 20480 && exec "$@"', 'sh'];
  const ended = await run(config, output, ['--resume', ...ranks], limit);
  assertSaid(ended, 'checkpoint_last.pth', /ulimit -f/);
  assert.ok(readFileSync(join(output, 'checkpoint_last.pth')).equals(old), 'the old checkpoint is another one');
  assert.equal(await stepSaved(output), 2);
  rmSync(output, { recursive: true });
  return 'exit code 1, one sentence, the old checkpoint as it was';
}

/** A log on a device that is always full. */
async function fullLog({ folder, config }: DiskOptions, name: 'log.txt' | 'metrics.jsonl'): Promise<string> {
  const output = join(folder, `full-${name}`);
  mkdirSync(output);
  symlinkSync('/dev/full', join(output, name));
  const ended = await run(config, output, ['--set', 'max_epoch=1']);
  assertSaid(ended, name, /the disk is full/);
  if (name === 'log.txt') assert.equal(await stepSaved(output), 12); // the other comes before the first save
  rmSync(output, { recursive: true });
  return 'exit code 1, one sentence';
}

/** What is printed goes to a file on a full disk. */
async function fullOutput({ folder, config }: DiskOptions): Promise<string> {
  const output = join(folder, 'full-output');
  assertSaid(
    await run(config, output, [], ['sh', '-c', 'exec "$@" > /dev/full', 'sh']),
    'Standard output',
    /the disk is full/,
  );
  return 'exit code 1, one sentence';
}

/** A file system of its own with room for one checkpoint but not for two. */
async function smallDisk({ folder, config }: DiskOptions): Promise<string> {
  const output = join(folder, 'small');
  mkdirSync(output);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=60m', 'tmpfs', output], { encoding: 'utf8' });
  if (mounted.status !== 0) throw new NotRun(`mount says: ${mounted.stderr?.trim() || mounted.error?.message}`);
  try {
    const ended = await run(config, output, []);
    assertSaid(ended, 'checkpoint_last.pth', /the disk is full/);
    return `exit code 1, one sentence, checkpoint_last.pth of step ${await stepSaved(output)} whole`;
  } finally {
    spawnSync('umount', [output]);
  }
}

/** Every way of having no room. Those that need no rights come first; `all` adds a file system of a given size. */
export async function runDiskTrials(options: DiskOptions & { all: boolean }): Promise<Trial[]> {
  const ways: [string, () => Promise<string>][] = [
    ['files up to 10 MiB', () => limitedFiles(options, [])],
    ['metrics.jsonl on a full device', () => fullLog(options, 'metrics.jsonl')],
    ['log.txt on a full device', () => fullLog(options, 'log.txt')],
    ['standard output on a full device', () => fullOutput(options)],
    ...(options.all
      ? ([
          ['files up to 10 MiB, two ranks', () => limitedFiles(options, ['--nproc_per_node', '2'])],
          ['a file system of 60 MiB', () => smallDisk(options)],
        ] as [string, () => Promise<string>][])
      : []),
  ];
  const done: Trial[] = [];
  for (const [index, [drawn, body]] of ways.entries())
    done.push(await runTrial(options, { subject: 'full disk', number: index + 1, drawn }, body));
  return done;
}
