// `bench`: how fast this program is here; the same work in it and in a checkout of salesforce/BLIP; how cost grows.
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Argument, Command } from 'commander';
import { curveSvg } from '../bench/curve.js';
import { benchMachine } from '../bench/machine.js';
import { printRerank, printScaling, printSmall, printStart, printTrain, printTrainLoader } from '../bench/print.js';
import { printMachine } from '../bench/print-machine.js';
import { devices, sizes } from '../bench/protocol.js';
import { benchRerank } from '../bench/rerank.js';
import { benchScaling, scalingPanels } from '../bench/scaling.js';
import { benchLoader, benchOpen, benchOverhead, benchTrainLoader } from '../bench/small.js';
import { benchStart } from '../bench/start.js';
import { benchTrain } from '../bench/train.js';
import { type Flag, flag, whole } from '../config/flag.js';
import { cannotWrite } from '../disk/cannot-write.js';
import { UserError } from '../errors.js';
import { CPU_BATCH } from '../evaluation/evaluate-retrieval.js';
import { precisions } from '../torch/precision.js';
import { addFlags } from './flags.js';

const WORKS = ['machine', 'rerank', 'train', 'scaling', 'open', 'overhead', 'loader', 'train-loader', 'start'] as const;
type Work = (typeof WORKS)[number];
const ROUNDS: Partial<Record<Work, number>> = { rerank: 2, train: 3, 'train-loader': 5, start: 20 };

const count = (value: string, help: string, initial: number) => flag(value, help, initial, whole(1));
const text = (value: string, help: string) => flag<string | undefined>(value, help, undefined);
const optional = (help: string) => flag<number | undefined>('<n>', help, undefined, whole(1));

const benchFlags = {
  reference: text('<dir>', 'checkout of salesforce/BLIP'),
  python: flag('<exe>', 'Python that has its packages', 'python3'),
  pretrained: text('<file>', 'a file, folder, URL, hf:OWNER/NAME or short name (default: weights drawn by a rule)'),
  images: optional('number of images (rerank: 8, scaling: up to 64, loaders: 64)'),
  texts: optional('number of captions (machine: 128, others: 5 an image)'),
  k: optional('k_test (rerank: 6, scaling: up to 16)'),
  rounds: optional('turns of each program (rerank: 2, train: 3, train-loader: 5, start: 20, others: 10)'),
  vit: flag('<size>', 'size of the model', 'base', sizes),
  image_size: count('<pixels>', 'side of an image, a multiple of 16', 384),
  queue_size: count('<n>', 'length of the queues in the checkpoint', 57600),
  batch: optional(
    'images at a time in the vision encoder or a training step (train: 4, machine: 8 and 4, on a GPU 64 and 32, others: 64)',
  ),
  steps: count('<n>', 'train: steps that are measured in each turn', 3),
  vit_ckpt_layer: flag('<n>', 'train: blocks of the vision encoder that recompute; 0 for none', 4, whole(0)),
  threads: count('<n>', 'threads of each program', availableParallelism()),
  device: flag('<device>', 'where both compute', 'cpu', devices),
  precision: flag('<precision>', 'arithmetic of both', 'fp32', precisions),
  seed: count('<n>', 'of captions and images', 42),
  seconds: count('<s>', 'machine: of each measurement, warm-up apart', 6),
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
    bench(flags.scaling ? 'scaling' : (work ?? (flags.reference === undefined ? 'machine' : 'rerank')), flags),
  );
}

async function bench(work: Work, flags: Flags): Promise<void> {
  const print = <T>(report: T, asTable: (report: T) => string) =>
    void process.stdout.write(`${flags.json ? JSON.stringify(report, undefined, 2) : asTable(report)}\n`);
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

  if (reference === undefined) {
    const remedy = 'a checkout of https://github.com/salesforce/BLIP, and --python EXE';
    throw wrong(`bench ${work} needs --reference DIR, ${remedy}`);
  }
  const both = { reference, python, rounds: flags.rounds ?? ROUNDS[work] ?? 10, threads };
  const images = flags.images ?? (work === 'rerank' ? 8 : 64);
  switch (work) {
    case 'rerank': {
      const { texts = 5 * images, k = Math.min(6, images) } = flags;
      if (texts < images) throw wrong(`--texts ${texts} is fewer than --images ${images}: every image has a caption`);
      if (k > images) throw wrong(`--k ${k} is above the number of images, ${images}`);
      return print(await benchRerank({ ...both, ...model, images, texts, k }), printRerank);
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

function writeCurve(file: string, svg: string): void {
  try {
    writeFileSync(file, svg);
  } catch (error) {
    throw cannotWrite(file, error);
  }
}

const wrong = (sentence: string) => new UserError(`${sentence}.`, { exitCode: 2 });
