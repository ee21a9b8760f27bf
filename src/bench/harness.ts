// The two programs that `bench` measures, each a child process that does what a JSON line says and answers with one.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { writeVocabulary } from '../data/vocabulary.js';
import { parseJson } from '../disk/json-file.js';
import { fetchPretrained } from '../download/pretrained-file.js';
import { at, messageOf, UserError } from '../errors.js';
import { architectureOf } from '../model/architecture.js';
import { compareCheckpoint, demandEvaluated } from '../model/pretrained.js';
import { writeReferenceWeights } from '../model/write-weights.js';
import { openTensorFile } from '../torch/checkpoint/index.js';
import { Answer, type Command, Hello, type ModelSetting, type ModelSizes, Timed, type Versions } from './protocol.js';

/** Lines of a child's stderr that an error message quotes. */
const QUOTED_LINES = 5;

/** A child process that answers each command with one line; commands are sent one at a time. */
export type Worker = Awaited<ReturnType<typeof startWorker>>;

/**
 * Starts `command` and waits until it says that it is ready.
 *
 * @param name what messages call it, such as `the reference`
 * @throws UserError when it cannot start, or says what it lacks
 */
export async function startWorker(
  name: string,
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
) {
  const child = spawn(command, args, { env: { ...process.env, ...env } });
  try {
    await once(child, 'spawn');
  } catch (error) {
    throw new UserError(`${name} cannot be started: ${messageOf(error)}.`, { cause: error });
  }
  const endWithUs = () => child.kill('SIGKILL'); // else, after Ctrl-C, it would go on until its work is done
  process.once('exit', endWithUs);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const lastLines: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (lastLines.push(line) > QUOTED_LINES) lastLines.shift();
  });
  // A command written after the child has gone is reported by 'close'; without a listener EPIPE would end this process.
  child.stdin.on('error', () => {});
  const ended = once(child, 'close').then(([code, signal]) => {
    process.off('exit', endWithUs);
    const how = signal ? `was ended by ${signal}` : `ended with code ${code}`;
    const why = signal === 'SIGKILL' ? ', probably because memory ran out' : '';
    const quoted = lastLines.length > 0 ? `; its last lines were:\n${lastLines.join('\n')}` : '.';
    return new UserError(`${name} ${how}${why}${quoted}`);
  });

  const next = async <T>(schema: z.ZodType<T>): Promise<T> => {
    const { done, value: line } = await lines.next();
    if (done) throw await ended;
    const answer = parseJson(line, () => Answer);
    const quoted = JSON.stringify(line.slice(0, 200));
    if (answer === undefined) throw new UserError(`${name} did not answer with a JSON object but with ${quoted}.`);
    if (!answer.ok) throw new UserError(`${name} failed: ${answer.error}`);
    const fields = schema.safeParse(answer);
    if (!fields.success) throw new UserError(`${name} did not answer what was asked but ${quoted}.`);
    return fields.data;
  };
  /** Asks the child to end and waits until it has; kills it after `patienceMs`. */
  const close = async (patienceMs = 5000) => {
    child.stdin.end();
    child.stdout.resume(); // a child that waits for somebody to read what it wrote could not end
    const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
    await ended;
    clearTimeout(timer);
  };
  /**
   * Sends one command and waits for its answer, with the fields of `schema`.
   * @throws UserError when the child reports an error, ends, or answers something else
   */
  const ask = <T>(command: Command, schema: z.ZodType<T>): Promise<T> => {
    child.stdin.write(`${JSON.stringify(command)}\n`);
    return next(schema);
  };
  /** What it said when it was ready. */
  const hello = await next(Hello).catch(async (error: unknown) => {
    await close();
    throw error;
  });
  return { hello, ask, close };
}

// ---- the two programs

export const title = { own: 'this program', reference: 'salesforce/BLIP' };

type Program = 'own' | 'reference';
/** Something of each program. */
export type Both<T> = Record<Program, T>;
export const both = <T>(of: (name: Program) => T): Both<T> => ({ own: of('own'), reference: of('reference') });

/** Options of every comparison. */
export interface ComparisonOptions {
  /** Folder of a checkout of salesforce/BLIP. */
  reference: string;
  /** Python that has its packages. */
  python: string;
  /** How often each program has its turn. */
  rounds: number;
  /** Of each program. */
  threads: number;
}

/** Options of the works on a model. */
export interface ModelOptions extends ModelSetting {
  /** Checkpoint file; without it the weights are drawn by a rule. */
  pretrained?: string;
  /** Images at a time in the vision encoder, or in a training step. */
  batch: number;
  threads: number;
  /** Of captions and images. */
  seed: number;
}

/** Says what was done, for the user who waits. */
export const say = (line: string) => void process.stderr.write(`${line}\n`);

/**
 * OpenMP reads the first, MKL the second: neither program may use more cores than the other. Both also wait alike:
 * threads that spin lose most of their time on a machine that runs anything else.
 */
const threadsOnly = (threads: number) => ({
  OMP_NUM_THREADS: String(threads),
  MKL_NUM_THREADS: String(threads),
  GOMP_SPINCOUNT: process.env.GOMP_SPINCOUNT ?? '1000',
});

/** Starts this program's side; for the CPU without LibTorch's CUDA libraries. */
export function startOwn(threads: number, device: ModelSetting['device'] = 'cpu'): Promise<Worker> {
  const script = fileURLToPath(new URL('./own/runner.js', import.meta.url));
  return startWorker(title.own, process.execPath, [script, device], threadsOnly(threads));
}

/**
 * Starts the reference's side: bench/reference_runner.py on an untouched checkout.
 *
 * @param folder where the vocabulary is written for it
 * @throws UserError when the folder is not a checkout, or Python or one of its packages is missing
 */
export async function startReference(options: Omit<ComparisonOptions, 'rounds'>, folder: string): Promise<Worker> {
  const { reference, python, threads } = options;
  if (!existsSync(reference)) {
    const remedy = 'Clone https://github.com/salesforce/BLIP and give its folder';
    throw new UserError(`The folder ${reference} of --reference does not exist. ${remedy}.`);
  }
  const vocabulary = join(folder, 'vocab.txt');
  writeVocabulary(vocabulary);
  const script = fileURLToPath(new URL('../../bench/reference_runner.py', import.meta.url));
  const env = { ...threadsOnly(threads), PYTHONUNBUFFERED: '1', PYTHONDONTWRITEBYTECODE: '1' };
  return await startWorker(`${title.reference} (${python})`, python, [script, reference, vocabulary], env);
}

/** What each program does: a model that every process loads first, and the command of every turn. */
interface Work<T> extends ComparisonOptions {
  device?: ModelSetting['device'];
  load?: Command;
  command(name: Program): Command;
  answer: z.ZodType<T>;
  /** What to say of a turn. */
  told?(answer: T): string;
  /** Each turn in a process of its own; else both stay for all rounds. */
  fresh?: boolean;
}

/**
 * The turns of both programs, alternating: A B A B.
 *
 * @param folder for temporary files
 * @throws UserError when either program cannot run, with what it lacks
 */
export async function alternate<T>(folder: string, work: Work<T>) {
  const versions = both((): Versions => ({}));
  const turns = both((): T[] => []);
  const running: Partial<Both<Worker>> = {};
  const start = async (name: Program) => {
    const worker = name === 'own' ? await startOwn(work.threads, work.device) : await startReference(work, folder);
    running[name] = worker;
    versions[name] = worker.hello.versions;
    if (work.load) await worker.ask(work.load, Timed);
    return worker;
  };
  try {
    for (let round = 1; round <= work.rounds; round++) {
      for (const name of ['reference', 'own'] as const) {
        const worker = running[name] ?? (await start(name));
        const answer = await worker.ask(work.command(name), work.answer);
        turns[name].push(answer);
        if (work.told) say(`round ${round} of ${work.rounds}: ${title[name]}, ${work.told(answer)}`);
        if (!work.fresh) continue;
        await worker.close();
        delete running[name];
      }
    }
  } finally {
    await Promise.all(Object.values(running).map((worker) => worker.close()));
  }
  return { versions, turns };
}

/** The checkpoint to measure with: the given one, as the reference reads it, or one that a process of its own draws into `folder`. */
export async function checkpointOf(model: ModelSizes & Pick<ModelOptions, 'pretrained'>, folder: string) {
  const { pretrained, vit, image_size, queue_size } = model;
  if (pretrained !== undefined) return asReferenceFile(pretrained, model, folder);
  say(`drawing the weights of vit ${vit} by a rule`);
  const checkpoint = join(folder, 'drawn.pth');
  const worker = await startOwn(1);
  await worker.ask({ op: 'draw', checkpoint, vit, image_size, queue_size }, Timed).finally(() => worker.close());
  return checkpoint;
}

/** The local file of `source`; written anew into `folder` where its names or form are not the reference's. */
async function asReferenceFile(source: string, model: ModelSizes, folder: string): Promise<string> {
  const { path } = await fetchPretrained(source, { print: say });
  using file = await openTensorFile(path);
  const { vit, image_size, queue_size } = model;
  const architecture = architectureOf({ vit, imageSize: image_size, queueSize: queue_size, medConfig: {} });
  const { refs, report } = compareCheckpoint(file.checkpoint, architecture);
  demandEvaluated(report, 'Check --vit, or name another checkpoint.');
  if (report.notes.length === 0 && file.checkpoint.format !== 'safetensors') return path;
  const written = join(folder, 'pretrained.pth');
  await writeReferenceWeights({ file, refs, architecture }, written, { half: false });
  return written;
}

/** The command that loads the model to measure with. */
export async function loadCommand(options: ModelOptions, folder: string) {
  const { vit, image_size, queue_size, device, precision } = options;
  const checkpoint = await checkpointOf(options, folder);
  return { op: 'load', checkpoint, vit, image_size, queue_size, device, precision } as const;
}

/** Makes a folder (under TMPDIR) that is removed when this process ends, also after SIGINT and SIGTERM. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'blip-bench-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  process.once('SIGINT', () => process.exit(130)).once('SIGTERM', () => process.exit(143));
  return folder;
}

export type Machine = ReturnType<typeof begin>['machine'];

/** What every work begins with: a folder for its files, and what its figures must be read with. */
export function begin() {
  const machine = {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memory_bytes: totalmem(),
    load: at(loadavg(), 0), // above 0.5: other programs were running in the minute before
    node: process.versions.node,
  };
  return { machine, folder: scratchFolder() };
}
