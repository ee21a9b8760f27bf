// `bench train-loader`: images with the training transforms a second, from this program's loader and PyTorch's, by turns.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import { writeVocabulary } from '../data/vocabulary.js';
import { messageOf, UserError } from '../errors.js';
import { type Machine, machine, machineLine } from './machine.js';
import { title } from './programs.js';
import { withScratch } from './scratch.js';
import { drawDataset } from './small.js';
import { type Summary, summary } from './statistics.js';
import { short, table } from './table.js';

export interface TrainLoaderOptions {
  /** Folder of a checkout of salesforce/BLIP. */
  reference: string;
  /** Python that has its packages, and OpenCV. */
  python: string;
  rounds: number;
  /** Worker threads of this program's loader, worker processes of PyTorch's. */
  workers: number;
  /** Image files that are drawn; each comes in many rows, for in an epoch of COCO the start of the workers is as nothing. */
  images: number;
  image_size: number;
  batch: number;
}

/** Milliseconds an image: of computing, all threads and processes together, and of waiting. */
interface ImageTimes {
  cpu: Summary;
  elapsed: Summary;
}

export interface TrainLoaderReport {
  machine: Machine;
  versions: Record<string, string>;
  options: TrainLoaderOptions;
  own: ImageTimes;
  reference: ImageTimes;
  /** The reference's best time divided by ours. */
  ratio: { cpu: number; elapsed: number };
}

const ROWS_PER_IMAGE = 64;

const Answer = z.discriminatedUnion('ok', [
  z.object({
    ok: z.literal(true),
    seconds: z.number(),
    cpu_seconds: z.number(),
    images: z.number().int().positive(),
    versions: z.record(z.string(), z.string()),
  }),
  z.object({ ok: z.literal(false), error: z.string() }),
]);
type Epoch = Extract<z.infer<typeof Answer>, { ok: true }>;

/**
 * Runs whole epochs, reference and own by turns, each in a process of its own with one thread for tensors.
 * @throws UserError when there is no checkout, or Python lacks a package
 */
export function benchTrainLoader(options: TrainLoaderOptions): Promise<TrainLoaderReport> {
  const { reference, python, rounds, workers, images, image_size, batch } = options;
  if (images * ROWS_PER_IMAGE < batch)
    throw new UserError(`${images} images of ${ROWS_PER_IMAGE} rows each do not fill a batch of ${batch}.`, {
      exitCode: 2,
    });
  if (!existsSync(reference))
    throw new UserError(`The folder ${reference} of --reference does not exist: give a checkout of salesforce/BLIP.`);
  return withScratch(async (folder) => {
    await drawDataset(folder, images, images * ROWS_PER_IMAGE);
    const vocabulary = join(folder, 'vocab.txt');
    writeVocabulary(vocabulary);
    const at = machine();
    const setting = [folder, image_size, batch, workers].map(String);
    const ours = fileURLToPath(new URL('./own-loader.js', import.meta.url));
    const theirs = fileURLToPath(new URL('../../bench/reference_loader.py', import.meta.url));
    const epochs: Record<'own' | 'reference', Epoch[]> = { own: [], reference: [] };
    for (let round = 0; round < rounds; round++) {
      epochs.reference.push(await run(title.reference, python, [theirs, reference, vocabulary, ...setting]));
      epochs.own.push(await run(title.own, process.execPath, [ours, ...setting]));
    }
    const [own, other] = [imageTimes(epochs.own), imageTimes(epochs.reference)];
    const ratio = { cpu: other.cpu.min / own.cpu.min, elapsed: other.elapsed.min / own.elapsed.min };
    const versions = { ...epochs.own[0]?.versions, ...epochs.reference[0]?.versions };
    return { machine: at, versions, options, own, reference: other, ratio };
  });
}

function imageTimes(epochs: readonly Epoch[]): ImageTimes {
  const perImage = (of: (epoch: Epoch) => number) => summary(epochs.map((epoch) => (1e3 * of(epoch)) / epoch.images));
  return { cpu: perImage((epoch) => epoch.cpu_seconds), elapsed: perImage((epoch) => epoch.seconds) };
}

async function run(name: string, command: string, args: readonly string[]): Promise<Epoch> {
  const env = { ...process.env, OMP_NUM_THREADS: '1', MKL_NUM_THREADS: '1', PYTHONDONTWRITEBYTECODE: '1' };
  let output: string;
  try {
    output = (await promisify(execFile)(command, args, { env })).stdout;
  } catch (error) {
    const lines = messageOf(error).trim().split('\n');
    throw new UserError(`${name} failed: ${lines.slice(-3).join(' ')}`, { cause: error });
  }
  const answer = Answer.parse(JSON.parse(output));
  if (!answer.ok) throw new UserError(`${name}: ${answer.error}.`);
  return answer;
}

export function printTrainLoader(report: TrainLoaderReport): string {
  const { options: o, own, reference, ratio } = report;
  const row = (what: string, of: (times: ImageTimes) => number, quotient: number) => [
    what,
    short(of(own)),
    short(of(reference)),
    short(quotient),
  ];
  return [
    `training transforms at ${o.image_size} px, batches of ${o.batch}, ${o.workers} workers each, ${o.images * ROWS_PER_IMAGE} rows, ${o.rounds} rounds by turns`,
    machineLine(report.machine, report.versions),
    '',
    table([
      ['', title.own, title.reference, 'ratio'],
      row('images a second and core, best', (t) => 1e3 / t.cpu.min, ratio.cpu),
      row('CPU ms an image, best', (t) => t.cpu.min, ratio.cpu),
      row('CPU ms an image, median', (t) => t.cpu.median, reference.cpu.median / own.cpu.median),
      row('ms an image, best', (t) => t.elapsed.min, ratio.elapsed),
      row('ms an image, median', (t) => t.elapsed.median, reference.elapsed.median / own.elapsed.median),
    ]),
  ].join('\n');
}
