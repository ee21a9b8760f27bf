// `bench`: how fast this program is here; the same work in it and in a checkout of salesforce/BLIP; how cost grows.
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Argument, Command } from 'commander';
import { benchAll } from '../bench/all.js';
import { type RowId, rowIds } from '../bench/all-rows.js';
import { curveSvg } from '../bench/curve.js';
import type { ModelOptions } from '../bench/harness.js';
import { benchMachine } from '../bench/machine.js';
import { printRerank, printScaling, printSmall, printStart, printTrain, printTrainLoader } from '../bench/print.js';
import { markdownOf, printAll, sectionName } from '../bench/print-all.js';
import { printMachine } from '../bench/print-machine.js';
import { printRanks } from '../bench/print-ranks.js';
import { readProcessor } from '../bench/processor.js';
import { devices, sizes } from '../bench/protocol.js';
import { benchRanks } from '../bench/ranks.js';
import { benchRerank } from '../bench/rerank.js';
import { type Against, rivals } from '../bench/rivals.js';
import { benchScaling, scalingPanels } from '../bench/scaling.js';
import { demandSection, writeSection } from '../bench/sections.js';
import { benchLoader, benchOpen, benchOverhead, benchTrainLoader } from '../bench/small.js';
import { benchStart } from '../bench/start.js';
import { benchTrain } from '../bench/train.js';
import { type Flag, flag, whole } from '../config/flag.js';
import { cannotWrite } from '../disk/cannot-write.js';
import { UserError } from '../errors.js';
import { CPU_BATCH } from '../evaluation/evaluate-retrieval.js';
import { roomOf } from '../logging/terminal.js';
import { precisions } from '../torch/precision.js';
import { addFlags } from './flags.js';

const WORKS = [
  ...(['machine', 'rerank', 'train', 'scaling', 'open', 'overhead', 'loader', 'train-loader'] as const),
  ...(['start', 'all', 'ranks'] as const),
] as const;
type Work = (typeof WORKS)[number];
const ROUNDS: Partial<Record<Work, number>> = { all: 2, ranks: 2, rerank: 2, train: 3, 'train-loader': 5, start: 20 };

const count = (value: string, help: string, initial: number) => flag(value, help, initial, whole(1));
const text = (value: string, help: string) => flag<string | undefined>(value, help, undefined);
const optional = (help: string) => flag<number | undefined>('<n>', help, undefined, whole(1));

const benchFlags = {
  reference: text('<dir>', 'checkout of salesforce/BLIP'),
  against: flag<Against | undefined>(
    '<rival>',
    'rerank, train: what to measure against: the checkout, transformers (its forward given pairs, or an image with all its texts), or this program in fp32 (default: blip)',
    undefined,
    rivals,
  ),
  python: flag('<exe>', "Python that has the other program's packages", 'python3'),
  transformers_python: text('<exe>', 'all: Python with transformers, of which the reference needs another version'),
  only: flag<RowId[] | undefined>('<rows>', `all: the rows to measure, of ${rowIds.join(', ')}`, undefined, rowsIn),
  write: text('<file>', 'all: Markdown file whose section of this processor is replaced, such as docs/benchmarks.md'),
  pretrained: text('<file>', 'a file, folder, URL, hf:OWNER/NAME or short name (default: weights drawn by a rule)'),
  images: optional('number of images (rerank, all: 8, ranks: 16, scaling: up to 64, loaders: 64)'),
  texts: optional('number of captions (machine: 128, others: 5 an image)'),
  k: optional('k_test (rerank, all, ranks: 6, scaling: up to 16)'),
  rounds: optional('turns of each program (rerank, all, ranks: 2, train: 3, train-loader: 5, start: 20, others: 10)'),
  vit: flag('<size>', 'size of the model', 'base', sizes),
  image_size: count('<pixels>', 'side of an image, a multiple of 16', 384),
  queue_size: count('<n>', 'length of the queues in the checkpoint', 57600),
  batch: optional(
    'images at a time in the vision encoder or a training step (train, all, ranks: 4, machine: 8 and 4, on a GPU 64 and 32, others: 64)',
  ),
  steps: count('<n>', 'train, all, ranks: steps that are measured in each turn', 3),
  vit_ckpt_layer: flag('<n>', 'train: blocks of the vision encoder that recompute; 0 for none', 4, whole(0)),
  threads: count('<n>', 'threads of each program', availableParallelism()),
  rank_threads: optional('ranks: threads of a rank (default: 4, or half of --threads where these are fewer than 8)'),
  device: flag('<device>', 'where both compute', 'cpu', devices),
  precision: flag('<precision>', 'arithmetic of both', 'fp32', precisions),
  seed: count('<n>', 'of captions and images', 42),
  seconds: count('<s>', 'machine, all: of each measurement, warm-up apart', 6),
  scaling: flag('', 'the same as the work `scaling`', false),
  curve: text('<file>', 'scaling: where to write the curve, as SVG'),
  json: flag('', 'print the report as JSON', false),
};
type Flags = { [K in keyof typeof benchFlags]: (typeof benchFlags)[K] extends Flag<infer T> ? T : never };

/** The command, to be added to the program. */
export function benchCommand(): Command {
  const command = new Command('bench')
    .description('measure this program on this machine, or beside the Python reference: speed, memory, scores')
    .addArgument(
      new Argument('[work]', 'what to measure')
        .choices(WORKS)
        .default(undefined, 'machine, or rerank with --reference'),
    );
  return addFlags(command, benchFlags).action((work: Work | undefined, flags: Flags) =>
    bench(
      flags.scaling
        ? 'scaling'
        : (work ?? (flags.reference === undefined && flags.against === undefined ? 'machine' : 'rerank')),
      flags,
    ),
  );
}

type Print = <T>(report: T, asTable: (report: T, columns: number) => string) => void;

async function bench(work: Work, flags: Flags): Promise<void> {
  const print: Print = (report, asTable) =>
    void process.stdout.write(
      `${flags.json ? JSON.stringify(report, undefined, 2) : asTable(report, roomOf(process.stdout))}\n`,
    );
  const { vit, image_size, queue_size, device, precision, threads, seed, pretrained, reference, python } = flags;
  if (image_size % 16 !== 0) throw wrong(`--image_size ${image_size} is not a multiple of 16, the side of a patch`);
  const weights = pretrained === undefined ? {} : { pretrained };
  const batch = flags.batch ?? (work === 'train' ? 4 : 64);
  const model = { vit, image_size, queue_size, device, precision, batch, threads, seed, ...weights };

  if (work === 'machine') {
    const { vit_ckpt_layer, texts = 128, seconds } = flags;
    const [batch, trained] = device === 'cpu' ? [CPU_BATCH, 4] : [64, 32];
    const batches = { batch: flags.batch ?? batch, train_batch: flags.batch ?? trained };
    return print(await benchMachine({ ...model, ...batches, vit_ckpt_layer, texts, seconds }), printMachine);
  }
  if (work === 'scaling') {
    const { images = 64, k = 16, curve } = flags;
    if (images < 8 || k < 8)
      throw wrong('scaling also measures an eighth of --images and --k. Give at least 8 of each');
    if (k > images / 4) {
      const remedy = `Give --images ${4 * k} or more, so that the smallest size has enough for it`;
      throw wrong(`--k ${k} is too large for --images ${images}. ${remedy}`);
    }
    const report = await benchScaling({ ...model, images, k });
    print(report, printScaling);
    if (curve !== undefined) writeCurve(curve, curveSvg(scalingPanels(report)));
    return;
  }

  if (work === 'start') {
    const rounds = flags.rounds ?? ROUNDS.start ?? 10;
    return print(await benchStart({ vit, image_size, queue_size, rounds, ...weights }), printStart);
  }
  if (work === 'all') return await benchTable(model, flags, print);
  if (work === 'ranks') {
    if (device !== 'cpu') throw wrong('bench ranks divides the cores of a CPU. Leave --device out');
    const { images = 16, steps, vit_ckpt_layer, rank_threads = threads < 8 ? Math.ceil(threads / 2) : 4 } = flags;
    const work = { ...workloadOf(images, flags), train_batch: flags.batch ?? 4, steps, vit_ckpt_layer };
    const report = await benchRanks({ ...model, ...work, rank_threads, rounds: flags.rounds ?? 2 });
    return print(report, printRanks);
  }
  demandRival(work, flags);
  const against = flags.against ?? 'blip';
  const both = { against, reference, python, rounds: flags.rounds ?? ROUNDS[work] ?? 10, threads };
  const images = flags.images ?? (work === 'rerank' ? 8 : 64);
  switch (work) {
    case 'rerank': {
      return print(await benchRerank({ ...both, ...model, ...workloadOf(images, flags) }), printRerank);
    }
    case 'train': {
      const { steps, vit_ckpt_layer } = flags;
      return print(await benchTrain({ ...both, ...model, steps, vit_ckpt_layer }), printTrain);
    }
    case 'train-loader': {
      const { rounds } = both;
      const options = { reference, python, rounds, workers: threads, images, image_size, batch };
      return print(await benchTrainLoader(options), printTrainLoader);
    }
    case 'open':
      return print(await benchOpen({ ...both, ...weights }), printSmall);
    case 'overhead':
      return print(await benchOverhead(both), printSmall);
    case 'loader':
      return print(await benchLoader({ ...both, images, image_size }), printSmall);
  }
}

/** Images, texts and k of an evaluation. @throws UserError where they do not fit together */
function workloadOf(images: number, { texts = 5 * images, k = Math.min(6, images) }: Pick<Flags, 'texts' | 'k'>) {
  if (texts < images) throw wrong(`--texts ${texts} is fewer than --images ${images}: every image has a caption`);
  if (k > images) throw wrong(`--k ${k} is above the number of images, ${images}`);
  return { images, texts, k };
}

/** `bench all`. */
async function benchTable(model: ModelOptions, flags: Flags, print: Print): Promise<void> {
  const { device, precision, ...rest } = model;
  if (device !== 'cpu' || precision !== 'fp32' || flags.against !== undefined)
    throw wrong(
      'bench all is a table for CPUs whose rows say what they compare. Leave --device, --precision and --against out',
    );
  const { reference, python, transformers_python, steps, vit_ckpt_layer, seconds, only, write } = flags;
  const others = { reference, python, transformers_python, rounds: flags.rounds ?? 2, seconds };
  const training = { train_batch: flags.batch ?? 4, steps, vit_ckpt_layer };
  const options = { ...rest, batch: 64, ...others, ...training, ...workloadOf(flags.images ?? 8, flags) };
  const name = sectionName(readProcessor().name, options);
  if (write !== undefined) demandSection(write, name);
  const report = await benchAll(options, only);
  print(report, printAll);
  if (write !== undefined) await writeSection(write, name, (before) => markdownOf(report, before));
}

/** What --only names. @throws RangeError */
function rowsIn(text: string): RowId[] {
  const names = text.split(',').map((name) => name.trim());
  return names.map((name) => {
    const id = rowIds.find((id) => id === name);
    if (id === undefined)
      throw new RangeError(`There is no row ${JSON.stringify(name)}: name some of ${rowIds.join(', ')}.`);
    return id;
  });
}

/** @throws UserError where the work cannot be measured against what --against says */
function demandRival(work: Work, { against = 'blip', reference, precision }: Flags): void {
  if (against === 'blip') {
    if (reference !== undefined) return;
    const remedy = 'a checkout of https://github.com/salesforce/BLIP, and --python EXE';
    throw wrong(`bench ${work} needs --reference DIR, ${remedy}`);
  }
  if (work !== 'rerank' && work !== 'train')
    throw wrong(
      `bench ${work} has nothing to do with --against ${against}, which is for rerank and train. Leave it out`,
    );
  if (work === 'train' && against !== 'fp32')
    throw wrong(
      `bench train cannot be measured against ${against}, which has no training for retrieval. Give --against blip or fp32`,
    );
  if (against === 'fp32' && precision === 'fp32')
    throw wrong('--against fp32 is for another precision of this program. Give --precision bf16, or tf32 on a GPU');
}

function writeCurve(file: string, svg: string): void {
  try {
    writeFileSync(file, svg);
  } catch (error) {
    throw cannotWrite(file, error);
  }
}

const wrong = (sentence: string) => new UserError(`${sentence}.`, { exitCode: 2 });
