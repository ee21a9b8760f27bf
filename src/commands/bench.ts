// `bench`: the same work in this program and in a checkout of salesforce/BLIP, in one run; how cost grows with size.
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Argument, Command, Option } from 'commander';
import { curveSvg } from '../bench/curve.js';
import { printRerank, printScaling, printSmall, printTrain } from '../bench/print.js';
import { devices, type ModelSetting, sizes } from '../bench/protocol.js';
import { benchRerank } from '../bench/rerank.js';
import { benchScaling, type ScalingReport } from '../bench/scaling.js';
import { benchLoader, benchOpen, benchOverhead, type SmallReport } from '../bench/small.js';
import { benchTrain } from '../bench/train.js';
import { benchTrainLoader, printTrainLoader } from '../bench/train-loader.js';
import { messageOf, UserError } from '../errors.js';
import { precisions } from '../torch/precision.js';
import { whole } from './flags.js';

const works = ['rerank', 'train', 'scaling', 'open', 'overhead', 'loader', 'train-loader'] as const;
type Work = (typeof works)[number];

const defaultRounds = { rerank: 2, train: 3, 'train-loader': 5, scaling: 1, open: 10, overhead: 10, loader: 10 };

interface Flags extends Omit<ModelSetting, 'checkpoint'> {
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
    .addArgument(new Argument('[work]', 'what to measure').choices(works).default('rerank'))
    .option('--reference <dir>', 'checkout of salesforce/BLIP')
    .option('--python <exe>', 'Python that has its packages', 'python3')
    .option('--pretrained <file>', 'checkpoint (default: weights drawn by a rule)')
    .option('--images <n>', 'number of images (rerank: 8, scaling: up to 64, loaders: 64)', count)
    .option('--texts <n>', 'number of captions (5 an image)', count)
    .option('--k <n>', 'k_test (rerank: 6, scaling: up to 16)', count)
    .option(
      '--rounds <n>',
      'how often each program has its turn (rerank: 2, train: 3, train-loader: 5, others: 10)',
      count,
    )
    .addOption(new Option('--vit <size>', 'size of the model').choices(sizes).default('base'))
    .option('--image_size <pixels>', 'side of an image, a multiple of 16', count, 384)
    .option('--queue_size <n>', 'length of the queues in the checkpoint', count, 57600)
    .option(
      '--batch <n>',
      'images at a time in the vision encoder, or of a training step (train: 4, others: 64)',
      count,
    )
    .option('--steps <n>', 'train: steps that are measured in each turn', count, 3)
    .option('--vit_ckpt_layer <n>', 'train: blocks of the vision encoder that recompute; 0 for none', countFromZero, 4)
    .option('--threads <n>', 'threads of each program', count, availableParallelism())
    .addOption(new Option('--device <device>', 'where both compute').choices(devices).default('cpu'))
    .addOption(new Option('--precision <precision>', 'arithmetic of both').choices(precisions).default('fp32'))
    .option('--seed <n>', 'of captions and images', count, 42)
    .option('--scaling', 'the same as the work `scaling`')
    .option('--curve <file>', 'scaling: where the curve goes, as SVG')
    .option('--json', 'print the report as JSON')
    .action((work: Work, flags: Flags) => bench(flags.scaling ? 'scaling' : work, flags));
}

async function bench(work: Work, flags: Flags): Promise<void> {
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  const print = <T>(report: T, asTable: (report: T) => string) =>
    void process.stdout.write(`${flags.json ? JSON.stringify(report, undefined, 2) : asTable(report)}\n`);
  if (flags.image_size % 16 !== 0)
    throw wrong(`--image_size ${flags.image_size} is no multiple of 16, the side of a patch`);
  const { vit, image_size, queue_size, device, precision, threads, seed, pretrained } = flags;
  const batch = flags.batch ?? (work === 'train' ? 4 : 64);
  const model = { vit, image_size, queue_size, device, precision, batch, threads, seed };
  const weights = pretrained === undefined ? {} : { pretrained };

  if (work === 'scaling') {
    const sized = { ...model, ...weights, images: flags.images ?? 64, k: flags.k ?? 16 };
    if (sized.images < 8 || sized.k < 8)
      throw wrong('scaling needs --images and --k of at least 8: it also measures an eighth of them');
    if (sized.k > sized.images / 4) {
      const least = `--images of at least four times that, so that the smallest size has enough for it`;
      throw wrong(`--k ${sized.k} needs ${least}, but --images is ${sized.images}`);
    }
    const report = await benchScaling(sized, say);
    print(report, printScaling);
    if (flags.curve !== undefined) writeCurve(flags.curve, report);
    return;
  }

  if (flags.reference === undefined) {
    throw wrong(
      `bench ${work} needs --reference DIR, a checkout of https://github.com/salesforce/BLIP, and --python EXE`,
    );
  }
  const both = {
    reference: flags.reference,
    python: flags.python,
    rounds: flags.rounds ?? defaultRounds[work],
    threads,
  };
  if (work === 'rerank') {
    const images = flags.images ?? 8;
    const [texts, k] = [flags.texts ?? 5 * images, flags.k ?? Math.min(6, images)];
    if (texts < images) throw wrong(`--texts ${texts} is fewer than --images ${images}: every image has a caption`);
    if (k > images) throw wrong(`--k ${k} is above the number of images, ${images}`);
    print(await benchRerank({ ...both, ...model, ...weights, images, texts, k }, say), printRerank);
    return;
  }
  if (work === 'train') {
    const { steps, vit_ckpt_layer } = flags;
    print(await benchTrain({ ...both, ...model, ...weights, steps, vit_ckpt_layer }, say), printTrain);
    return;
  }
  if (work === 'train-loader') {
    const { reference, python, rounds } = both;
    const setting = { reference, python, rounds, workers: threads, images: flags.images ?? 64, image_size, batch };
    print(await benchTrainLoader(setting), printTrainLoader);
    return;
  }
  const small: Record<Exclude<Work, 'rerank' | 'train' | 'scaling' | 'train-loader'>, () => Promise<SmallReport>> = {
    open: () => benchOpen({ ...both, ...weights }),
    overhead: () => benchOverhead(both),
    loader: () => benchLoader({ ...both, images: flags.images ?? 64, image_size }),
  };
  print(await small[work](), printSmall);
}

function writeCurve(file: string, { by_images, by_k }: ScalingReport): void {
  const gibibytes = (value: number) => value / 2 ** 30;
  const svg = curveSvg([
    {
      title: 'Evaluation',
      xLabel: 'images',
      yLabel: 'CPU seconds',
      points: by_images.map((p) => [p.images, p.cpu_seconds]),
    },
    {
      title: 'Evaluation',
      xLabel: 'pairs, k growing',
      yLabel: 'CPU seconds',
      points: by_k.map((p) => [p.pairs, p.cpu_seconds]),
    },
    {
      title: 'Features',
      xLabel: 'images',
      yLabel: 'seconds',
      points: by_images.map((p) => [p.images, p.feature_seconds]),
    },
    {
      title: 'Re-ranking',
      xLabel: 'pairs, images growing',
      yLabel: 'seconds',
      points: by_images.map((p) => [p.pairs, p.rerank_seconds]),
    },
    {
      title: 'Re-ranking',
      xLabel: 'pairs, k growing',
      yLabel: 'seconds',
      points: by_k.map((p) => [p.pairs, p.rerank_seconds]),
    },
    {
      title: 'Peak memory',
      xLabel: 'images',
      yLabel: 'GiB',
      points: by_images.map((p) => [p.images, gibibytes(p.peak_bytes)]),
    },
    { title: 'Peak memory', xLabel: 'k', yLabel: 'GiB', points: by_k.map((p) => [p.k, gibibytes(p.peak_bytes)]) },
  ]);
  try {
    writeFileSync(file, svg);
  } catch (error) {
    throw new UserError(`The curve cannot be written to ${file}: ${messageOf(error)}.`, { cause: error });
  }
}

const wrong = (sentence: string) => new UserError(`${sentence}.`, { exitCode: 2 });

const count = whole(1);
const countFromZero = whole(0);
