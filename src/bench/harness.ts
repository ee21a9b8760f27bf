// A program that `bench` measures: a child process that does what a JSON line says and answers with one; and this program as one.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { parseJson } from '../disk/json-file.js';
import { fetchPretrained } from '../download/pretrained-file.js';
import { at, messageOf, UserError } from '../errors.js';
import { onOwnLine, STOPPED } from '../libtorch/last-words.js';
import { fitted } from '../logging/terminal.js';
import { architectureOf } from '../model/architecture.js';
import { compareCheckpoint, demandEvaluated } from '../model/pretrained.js';
import { writeReferenceWeights } from '../model/write-weights.js';
import { openTensorFile } from '../torch/checkpoint/index.js';
import { readProcessor } from './processor.js';
import { Answer, type Command, Hello, type ModelSetting, type ModelSizes, Timed } from './protocol.js';

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

// ---- this program

export const ownTitle = 'this program';

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
export const say = (line: string) => void process.stderr.write(`${fitted(line, process.stderr)}\n`);

/**
 * OpenMP reads the first, MKL the second: neither program may use more cores than the other. Both also wait alike:
 * threads that spin lose most of their time on a machine that runs anything else.
 */
export const threadsOnly = (threads: number) => ({
  OMP_NUM_THREADS: String(threads),
  MKL_NUM_THREADS: String(threads),
  GOMP_SPINCOUNT: process.env.GOMP_SPINCOUNT ?? '1000',
});

/** Starts this program's side; for the CPU without LibTorch's CUDA libraries. `place` is that of a rank (own/place.ts). */
export function startOwn(
  threads: number,
  device: ModelSetting['device'] = 'cpu',
  place: readonly string[] = [],
): Promise<Worker> {
  const script = fileURLToPath(new URL('./own/runner.js', import.meta.url));
  return startWorker(ownTitle, process.execPath, [script, device, ...place], threadsOnly(threads));
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
  root ??= removedAtExit(mkdtempSync(join(tmpdir(), 'blip-bench-')));
  return mkdtempSync(join(root, 'work-'));
}

/** All folders of this process are in it, so that `bench all` does not add listeners with every row. */
let root: string | undefined;

function removedAtExit(folder: string): string {
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.once(signal, () => {
      if (process.stderr.isTTY) process.stderr.write(onOwnLine(STOPPED.last(signal)));
      process.exit(code);
    });
  return folder;
}

export type Machine = ReturnType<typeof begin>['machine'];

/** What every work begins with: a folder for its files, and what its figures must be read with. */
export function begin() {
  const { name, vectors } = readProcessor();
  const machine = {
    date: new Date().toISOString().slice(0, 10),
    cpu: name,
    vectors,
    cores: availableParallelism(),
    memory_bytes: totalmem(),
    load: at(loadavg(), 0), // above 0.5: other programs were running in the minute before
    node: process.versions.node,
  };
  return { machine, folder: scratchFolder() };
}
