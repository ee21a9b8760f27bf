// `bench`: the same work in this program and in a checkout of salesforce/BLIP, in one run; how cost grows with size.
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Argument, Command, Option } from 'commander';
import { curveSvg } from '../bench/curve.js';
import { printRerank, printScaling, printSmall, printTrain, printTrainLoader } from '../bench/print.js';
import { devices, type ModelSetting, precisions, sizes } from '../bench/protocol.js';
import { benchRerank } from '../bench/rerank.js';
import { benchScaling, scalingPanels } from '../bench/scaling.js';
import { benchLoader, benchOpen, benchOverhead } from '../bench/small.js';
import { benchTrain } from '../bench/train.js';
import { benchTrainLoader } from '../bench/train-loader.js';
import { cannotWrite } from '../disk/atomic-file.js';
import { UserError } from '../errors.js';
import { wholeNumber } from './options.js';

const WORKS = ['rerank', 'train', 'scaling', 'open', 'overhead', 'loader', 'train-loader'] as const;
type Work = (typeof WORKS)[number];
const ROUNDS: Partial<Record<Work, number>> = { rerank: 2, train: 3, 'train-loader': 5 };

interface Flags extends ModelSetting {
  reference?: string;
  python: string;
  pretrained?: string;
  images?: number;
  texts?: number;
  k?: number;
  rounds?: number;
  batch?: number;
  steps: number;
  vit_ckpt_layer: number;
  threads: number;
  seed: number;
  curve?: string;
  scaling?: true;
  json?: true;
}

/** The command, to be added to the program. */
export function benchCommand(): Command {
  return new Command('bench')
    .description('measure this program beside the Python reference: speed, scores, memory')
    .addArgument(new Argument('[work]', 'what to measure').choices(WORKS).default('rerank'))
    .option('--reference <dir>', 'checkout of salesforce/BLIP')
    .option('--python <exe>', 'Python that has its packages', 'python3')
    .option('--pretrained <file>', 'checkpoint (default: weights drawn by a rule)')
    .option('--images <n>', 'number of images (rerank: 8, scaling: up to 64, loaders: 64)', count)
    .option('--texts <n>', 'number of captions (default: 5 an image)', count)
    .option('--k <n>', 'k_test (rerank: 6, scaling: up to 16)', count)
    .option('--rounds <n>', 'turns of each program (rerank: 2, train: 3, train-loader: 5, others: 10)', count)
    .addOption(new Option('--vit <size>', 'size of the model').choices(sizes).default('base'))
    .option('--image_size <pixels>', 'side of an image, a multiple of 16', count, 384)
    .option('--queue_size <n>', 'length of the queues in the checkpoint', count, 57600)
    .option('--batch <n>', 'images in the vision encoder or a training step at a time (train: 4, others: 64)', count)
    .option('--steps <n>', 'train: steps that are measured in each turn', count, 3)
    .option('--vit_ckpt_layer <n>', 'train: blocks of the vision encoder that recompute; 0 for none', countFromZero, 4)
    .option('--threads <n>', 'threads of each program', count, availableParallelism())
    .addOption(new Option('--device <device>', 'where both compute').choices(devices).default('cpu'))
    .addOption(new Option('--precision <precision>', 'arithmetic of both').choices(precisions).default('fp32'))
    .option('--seed <n>', 'of captions and images', count, 42)
    .option('--scaling', 'the same as the work `scaling`')
    .option('--curve <file>', 'scaling: where to write the curve, as SVG')
    .option('--json', 'print the report as JSON')
    .action((work: Work, flags: Flags) => bench(flags.scaling ? 'scaling' : work, flags));
}

async function bench(work: Work, flags: Flags): Promise<void> {
  const print = <T>(report: T, asTable: (report: T) => string) =>
    void process.stdout.write(`${flags.json ? JSON.stringify(report, undefined, 2) : asTable(report)}\n`);
  const { vit, image_size, queue_size, device, precision, threads, seed, pretrained, reference, python } = flags;
  if (image_size % 16 !== 0) throw wrong(`--image_size ${image_size} is not a multiple of 16, the side of a patch`);
  const weights = pretrained === undefined ? {} : { pretrained };
  const batch = flags.batch ?? (work === 'train' ? 4 : 64);
  const model = { vit, image_size, queue_size, device, precision, batch, threads, seed, ...weights };

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

const count = (text: string) => wholeNumber(text, 1);
const countFromZero = (text: string) => wholeNumber(text, 0);
