// `bench start`: what stands before the first work of a program, in new processes: Node itself, --version, --help, the first
// operator, a checkpoint opened with its checksums compared.
import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseJson } from '../disk/json-file.js';
import { schema } from '../disk/schema.js';
import { UserError } from '../errors.js';
import { counted, lastLine } from '../logging/text.js';
import { begin, checkpointOf, type ModelOptions, say } from './harness.js';
import { summary } from './statistics.js';

const dist = fileURLToPath(new URL('..', import.meta.url));
const cli = join(dist, 'cli.js');
const core = JSON.stringify(new URL('../core.js', import.meta.url).href);

const FIRST_OPERATOR = `const { ops } = await import(${core}); const one = ops.zeros([4]); ops.add(one, one);`;
/** In one process, after LibTorch is open: seconds by the clock and of all threads, and the process's peak memory. */
const OPENING = `
const { openTensorFile, ops } = await import(${core});
ops.zeros([1]);
const [from, cpu] = [performance.now(), process.cpuUsage()];
(await openTensorFile(process.argv[1])).close();
const { user, system } = process.cpuUsage(cpu);
const spent = { seconds: (performance.now() - from) / 1e3, cpu: (user + system) / 1e6 };
console.log(JSON.stringify({ ...spent, peak_bytes: process.resourceUsage().maxRSS * 1024 }));`;

const module = (text: string, ...rest: string[]) => ['--input-type=module', '--eval', text, ...rest];

/** What is run to its end, by name. */
const programs = {
  'Node alone': ['--eval', '0'],
  '--version': [cli, '--version'],
  '--help': [cli, '--help'],
  'first operator': module(FIRST_OPERATOR),
} as const;
type Name = keyof typeof programs;
const names = Object.keys(programs) as Name[];

const Opened = schema((z) => z.object({ seconds: z.number(), cpu: z.number(), peak_bytes: z.number() }));

export type StartReport = Awaited<ReturnType<typeof benchStart>>;

export interface StartOptions extends Pick<ModelOptions, 'pretrained' | 'vit' | 'image_size' | 'queue_size'> {
  rounds: number;
}

/** Each `rounds` times, alternating. @throws UserError where one fails */
export async function benchStart(options: StartOptions) {
  const { machine, folder } = begin();
  const checkpoint = await checkpointOf(options, folder);
  const opened = { seconds: [] as number[], cpu: [] as number[] };
  let peak = 0;
  const whole = new Map(names.map((name) => [name, { seconds: [] as number[], cpu: 0 }]));
  say(counted(options.rounds, 'round'));
  for (let round = 0; round < options.rounds; round++) {
    for (const [name, spent] of whole) {
      await setImmediate(); // the listener of a signal has its turn: children are waited for without one
      const [from, cpu] = [performance.now(), childrenSeconds()];
      await runNode(name, programs[name]);
      spent.seconds.push((performance.now() - from) / 1e3);
      spent.cpu += childrenSeconds() - cpu;
    }
    const answer = parseJson(await runNode('opening', module(OPENING, checkpoint)), Opened);
    if (answer === undefined) throw new UserError('The process that opened the checkpoint gave no figures.');
    opened.seconds.push(answer.seconds);
    opened.cpu.push(answer.cpu);
    peak = Math.max(peak, answer.peak_bytes);
  }
  const starts = [...whole].map(([what, { seconds, cpu }]) => ({
    what,
    ...summary(seconds),
    cpu: cpu / options.rounds,
  }));
  const mean = opened.cpu.reduce((sum, cpu) => sum + cpu, 0) / options.rounds;
  const checkpointOpened = {
    bytes: statSync(checkpoint).size,
    ...summary(opened.seconds),
    cpu: mean,
    peak_bytes: peak,
  };
  return { machine, options, starts, opened: checkpointOpened };
}

/** Runs Node with these arguments. @returns its last line */
async function runNode(what: string, args: readonly string[]): Promise<string> {
  const child = spawnSync(process.execPath, [...args], { encoding: 'utf8' });
  if (child.status === 0) return lastLine(child.stdout);
  // A terminal's Ctrl-C, which this process had too: its listener ends it when the event loop turns.
  if (child.signal === 'SIGINT') await sleep(1_000);
  const why = child.error?.message ?? (lastLine(child.stderr) || `it ended with ${child.signal ?? child.status}`);
  throw new UserError(`${what} does not run: ${why}.`);
}

/** CPU seconds of all children that have ended, in the kernel's steps of 0.01; a mean over rounds is finer. */
function childrenSeconds(): number {
  const text = readFileSync('/proc/self/stat', 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) / 100;
}
