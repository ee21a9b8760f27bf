// Wrong usage first: exit code 2 with one sentence; then spellings, ranks, signals and a closed pipe.
// Covers cli.ts, commands/options.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, constants as fsConstants, openSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { codeOf } from '#blip/errors.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { cliPath, runCli } from '../helpers/run-cli.js';

const folder = temporaryFolder();

test('wrong usage ends with code 2, a sentence on stderr, nothing on stdout and no stack', async () => {
  for (const [args, message] of [
    [['evalute'], /^error: There is no command 'evalute'\. Did you mean evaluate\?/],
    [['--evaluate', 'chek-data'], /Did you mean check-data\?/],
    [['--evalute'], /unknown option '--evalute'\n\(Did you mean --evaluate\?\)/],
    [['--seed'], /'--seed <number>' argument missing/],
    [['--seed', '-1'], /argument '-1' is invalid\. Expected a whole number, 0 or more/],
    [['--seed', '1.5'], /Expected a whole number/],
    [['--device', 'gpu'], /argument 'gpu' is invalid\. Expected cpu, cuda or cuda:N/],
    [['--precision', 'fp16'], /Allowed choices are fp32, tf32, bf16/],
    [['--nproc_per_node', '0'], /Expected a whole number, 1 or more/],
    [['--nnodes', '4:2'], /Expected a number of machines/],
    [['--master_port', '65536'], /Expected a port/],
    [['--collective_timeout', '0'], /Expected a whole number, 1 or more/],
    [['--collective_timeout', '604801'], /Expected at most 604800 seconds, a week/],
    [['inspect'], /missing required argument 'file'/],
    [['inspect', 'a', 'b'], /too many arguments/],
    [['demo', '--images', '3'], /Expected a whole number, 10 or more/],
    [['doctor', '--yaml'], /unknown option '--yaml'/],
    [['bench', '--k', 'x'], /invalid/],
  ] as const) {
    const { code, stdout, stderr } = await runCli(args);
    assert.equal(code, 2, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, message, args.join(' '));
    assert.doesNotMatch(stderr, /^ {4}at /m);
    assert.equal(stdout, '');
    // The help that is named is that of the command.
    const [named = ''] = /\(blip-retrieval.*lists the options\)/.exec(stderr) ?? [];
    const [first = ''] = args;
    if (named !== '')
      assert.equal(named, `(blip-retrieval${first.startsWith('-') ? '' : ` ${first}`} --help lists the options)`);
  }
});

test('- and _ are the same in names of options, = and a space before values', async () => {
  for (const args of [
    ['--output-dir', 'x', '--save-scores', '--nproc-per-node=8', '--evaluate', '--seed=x'],
    ['--output_dir=x', '--save_scores', '--nproc_per_node', '8', '--evaluate', '--seed', 'x'],
  ]) {
    // The only thing wrong is the seed: everything before it was understood.
    assert.match((await runCli(args)).stderr, /^error: option '--seed <number>' argument 'x' is invalid/);
  }
});

test('a config that cannot be used ends with code 1, and with 2 when --set is at fault', async () => {
  const absent = await runCli(['--evaluate', '--config', join(folder, 'absent.yaml'), '--output_dir', folder]);
  assert.equal(absent.code, 1);
  assert.match(absent.stderr, /^error: The config .*absent\.yaml cannot be read: it does not exist\. Check the path\./);
  const set = await runCli([
    '--evaluate',
    '--config',
    'configs/demo.yaml',
    '--set',
    'k_tset=5',
    '--output_dir',
    folder,
  ]);
  assert.equal(set.code, 2);
  assert.match(set.stderr, /--set k_tset=5: unknown key k_tset; the nearest known key is k_test/);
});

test('a stack is printed with --debug only', async () => {
  const args = ['--evaluate', '--config', join(folder, 'absent.yaml'), '--output_dir', folder];
  assert.doesNotMatch((await runCli(args)).stderr, /\n {4}at /);
  assert.match((await runCli([...args, '--debug'])).stderr, /\n {4}at /);
});

test('--version prints the version of the package', async () => {
  const { code, stdout } = await runCli(['--version']);
  const { version } = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8'));
  assert.equal(code, 0);
  assert.equal(stdout, `${version}\n`);
});

test('the ranks of torchrun and Slurm are read from the environment, and refused when they are nonsense', async () => {
  const args = ['--evaluate', '--config', join(folder, 'absent.yaml')];
  for (const env of [{ RANK: '3', WORLD_SIZE: '8' }, { SLURM_PROCID: '0' }, { RANK: '3' }]) {
    assert.equal((await runCli(args, env)).code, 1, 'every rank reads the config');
  }
  for (const [env, message] of [
    [{ RANK: 'x', WORLD_SIZE: '2' }, /environment variable RANK but received 'x'/],
    [{ RANK: '2', WORLD_SIZE: '2' }, /RANK is 2 but there are only 2 processes/],
  ] as const) {
    const { code, stderr } = await runCli(args, env);
    assert.equal(code, 2);
    assert.match(stderr, message);
  }
});

test('a config that no rank could use is said once, before any rank is started', async () => {
  const { code, stderr } = await runCli(['--nproc_per_node=2', '--evaluate', '--config', join(folder, 'absent.yaml')]);
  assert.equal(code, 1);
  assert.equal(stderr.match(/cannot be read/g)?.length, 1);
});

test('a reader that goes away ends the program quietly', async () => {
  const child = spawn(process.execPath, [cliPath, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
  // Closed long before the child writes: its first write meets a broken pipe.
  child.stdout.destroy();
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(stderr, '');
  assert.ok(code === 0 || code === 141, `code ${code}`);
});

test('SIGINT and SIGTERM end the program as a shell expects: 130 and 143', { timeout: 60_000 }, async () => {
  for (const [signal, expected] of [
    ['INT', 130],
    ['TERM', 143],
  ] as const) {
    // The program blocks reading its config from a pipe that nobody writes to, where no JavaScript could handle a signal.
    const pipe = join(folder, `${signal}.yaml`);
    execFileSync('mkfifo', [pipe]);
    const child = spawn(process.execPath, [cliPath, '--evaluate', '--config', pipe], { stdio: 'ignore' });
    const ended = new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
      child.on('close', (code, by) => resolve([code, by])),
    );
    const writer = await openForReader(pipe, () => child.exitCode !== null);
    child.kill(`SIG${signal}`);
    const [code, by] = await ended;
    closeSync(writer);
    assert.equal(code ?? 128 + (by ? constants.signals[by] : 0), expected);
  }
});

/** Opens a named pipe for writing as soon as somebody reads from it; fails once the reader has `ended`. */
async function openForReader(pipe: string, ended: () => boolean): Promise<number> {
  while (!ended()) {
    try {
      return openSync(pipe, fsConstants.O_WRONLY | fsConstants.O_NONBLOCK);
    } catch (error) {
      if (codeOf(error) !== 'ENXIO') throw error;
      await setTimeout(20);
    }
  }
  throw new Error('the program ended before it opened its config');
}
