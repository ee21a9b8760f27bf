// What `bench` measures this program against: a checkout of the reference, transformers, or this program in float32.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { bertVocabulary, writeVocabulary } from '../data/vocabulary.js';
import { fetchPretrained } from '../download/pretrained-file.js';
import { UserError } from '../errors.js';
import { configJson, tokenizerFiles } from '../model/hugging-face-files.js';
import { compareCheckpoint } from '../model/pretrained.js';
import { writeHuggingFaceWeights } from '../model/write-weights.js';
import { openTensorFile } from '../torch/checkpoint/index.js';
import { architectureFor } from './drawn-weights.js';
import {
  loadCommand,
  type ModelOptions,
  ownTitle,
  say,
  startOwn,
  startWorker,
  threadsOnly,
  type Worker,
} from './harness.js';
import { type Command, type Commands, type ModelSetting, type ModelSizes, Timed, type Versions } from './protocol.js';

/** 'transformers' gives its forward pairs, 'transformers-images' an image with all of its texts. */
export const rivals = ['blip', 'transformers', 'transformers-images', 'fp32'] as const;
export type Against = (typeof rivals)[number];

type Program = 'own' | 'reference';
/** Something of each program; `reference` is whatever this program is measured against. */
export type Both<T> = Record<Program, T>;
export const both = <T>(of: (name: Program) => T): Both<T> => ({ own: of('own'), reference: of('reference') });

/** Options of every comparison. */
export interface ComparisonOptions {
  /** 'blip' by default. */
  against?: Against | undefined;
  /** Folder of a checkout of salesforce/BLIP, where that is what it is measured against. */
  reference?: string | undefined;
  /** Python that has the other program's packages. */
  python: string;
  /** How often each program has its turn. */
  rounds: number;
  /** Of each program. */
  threads: number;
}

const REFERENCE_TITLES: Record<Exclude<Against, 'fp32'>, string> = {
  blip: 'salesforce/BLIP',
  transformers: 'transformers, pairs',
  'transformers-images': 'transformers, images',
};

/** What messages and tables call the two programs. */
export function titlesOf({ against = 'blip', precision = '' }: { against?: Against | undefined; precision?: string }) {
  if (against === 'fp32') return { own: precision, reference: 'fp32' };
  return { own: ownTitle, reference: REFERENCE_TITLES[against] };
}

const runnerScript = (name: string) => fileURLToPath(new URL(`../../bench/${name}`, import.meta.url));

function startPython(
  options: Pick<ComparisonOptions, 'python' | 'threads'>,
  against: Exclude<Against, 'fp32'>,
  args: string[],
) {
  const { python, threads } = options;
  const env = { ...threadsOnly(threads), PYTHONUNBUFFERED: '1', PYTHONDONTWRITEBYTECODE: '1' };
  return startWorker(`${REFERENCE_TITLES[against]} (${python})`, python, args, env);
}

/**
 * Starts the reference's side: bench/reference_runner.py on an untouched checkout.
 *
 * @param folder where the vocabulary is written for it
 * @throws UserError when the folder is not a checkout, or Python or one of its packages is missing
 */
export async function startReference(options: Omit<ComparisonOptions, 'rounds'>, folder: string): Promise<Worker> {
  const { reference } = options;
  const remedy = 'Clone https://github.com/salesforce/BLIP and give its folder';
  if (reference === undefined) throw new UserError(`No --reference was given. ${remedy}.`);
  if (!existsSync(reference)) throw new UserError(`The folder ${reference} of --reference does not exist. ${remedy}.`);
  const vocabulary = join(folder, 'vocab.txt');
  writeVocabulary(vocabulary);
  return await startPython(options, 'blip', [runnerScript('reference_runner.py'), reference, vocabulary]);
}

/**
 * Starts bench/transformers_runner.py, whose `load` takes a folder that `huggingFaceFolder` wrote.
 * @throws UserError when Python or one of its packages is missing
 */
export function startTransformers(
  options: Pick<ComparisonOptions, 'python' | 'threads'>,
  against: 'transformers' | 'transformers-images',
): Promise<Worker> {
  const way = against === 'transformers' ? 'pairs' : 'images';
  return startPython(options, against, [runnerScript('transformers_runner.py'), way]);
}

function startRival(options: Omit<ComparisonOptions, 'rounds'>, folder: string, device?: ModelSetting['device']) {
  const { against = 'blip', threads } = options;
  if (against === 'fp32') return startOwn(threads, device);
  return against === 'blip' ? startReference(options, folder) : startTransformers(options, against);
}

/** Writes what BlipForImageTextRetrieval.from_pretrained reads of a checkpoint in the reference's form. @returns the folder */
export async function huggingFaceFolder(checkpoint: string, sizes: ModelSizes, folder: string): Promise<string> {
  using file = await openTensorFile(checkpoint);
  const architecture = architectureFor(sizes);
  const { refs } = compareCheckpoint(file.checkpoint, architecture);
  const written = join(folder, 'hugging-face');
  mkdirSync(written, { recursive: true });
  await writeHuggingFaceWeights({ file, refs, architecture }, join(written, 'model.safetensors'), { half: false });
  const texts = { 'config.json': configJson(architecture, 'float32'), ...tokenizerFiles(bertVocabulary()) };
  for (const [name, text] of Object.entries(texts)) writeFileSync(join(written, name), text);
  return written;
}

type Load = { op: 'load' } & Commands['load'];

/** The commands that load the same weights in both programs. */
export async function loadCommands(options: ComparisonOptions & ModelOptions, folder: string): Promise<Both<Load>> {
  const { against = 'blip', vit, image_size, queue_size, device, precision, pretrained } = options;
  if (against === 'fp32') {
    const checkpoint =
      pretrained === undefined ? {} : { checkpoint: (await fetchPretrained(pretrained, { print: say })).path };
    const own = { op: 'load', vit, image_size, queue_size, device, precision, ...checkpoint } as const;
    return { own, reference: { ...own, precision: 'fp32' } };
  }
  const own = await loadCommand(options, folder);
  if (against === 'blip') return { own, reference: own };
  return { own, reference: { ...own, checkpoint: await huggingFaceFolder(own.checkpoint, options, folder) } };
}

/** What each program does: a model that every process loads first, and the command of every turn. */
interface Work<T> extends ComparisonOptions {
  device?: ModelSetting['device'];
  precision?: ModelSetting['precision'];
  load?: Both<Command>;
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
  const titles = titlesOf(work);
  const start = async (name: Program) => {
    const { threads, device } = work;
    const worker = name === 'own' ? await startOwn(threads, device) : await startRival(work, folder, device);
    running[name] = worker;
    versions[name] = worker.hello.versions;
    if (work.load) await worker.ask(work.load[name], Timed);
    return worker;
  };
  try {
    for (let round = 1; round <= work.rounds; round++) {
      for (const name of ['reference', 'own'] as const) {
        const worker = running[name] ?? (await start(name));
        const answer = await worker.ask(work.command(name), work.answer);
        turns[name].push(answer);
        if (work.told) say(`round ${round} of ${work.rounds}: ${titles[name]}, ${work.told(answer)}`);
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
