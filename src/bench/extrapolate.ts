// How long COCO's whole test split would take here: measured costs of a sample, and the counts of the split.
import { evaluationSeconds, keptBytesOfImage } from '../evaluation/estimate.js';
import { stepCosts } from '../evaluation/work-split.js';
import type { Precision } from '../torch/precision.js';
import { architectureFor } from './drawn-weights.js';
import { type ModelOptions, say, startOwn } from './harness.js';
import { Timed, Tried } from './protocol.js';
import { drawInputs } from './workload.js';

/** COCO's test split (Karpathy) and configs/retrieval_coco.yaml: 7,682,560 pairs as the reference counts. */
const COCO = { images: 5_000, texts: 25_010, kTest: 256 };
export const COCO_PAIRS = (COCO.images + COCO.texts) * COCO.kTest;

/** The sample: enough texts for the batches of an evaluation, few enough images to be encoded in seconds. */
const SAMPLE = { images: 16, texts: 512 };

export type Extrapolation = Awaited<ReturnType<typeof extrapolateCoco>>;

/**
 * The seconds of COCO's test split by the work model of --dry_run (evaluation/estimate.ts). Two things are not known
 * without the images: how many captions are equal (counted as none), and how many pairs both directions want. So there are two
 * results: `most`, where they share none, and `least`, where all that the images want is wanted by the texts too.
 * @param seconds about what each half of the measurement may take
 */
export async function extrapolateCoco(options: ModelOptions, folder: string, precision: Precision, seconds: number) {
  const { vit, image_size, queue_size, device, threads, pretrained } = options;
  const inputs = await drawInputs(folder, options, SAMPLE.images, SAMPLE.texts);
  const checkpoint = pretrained === undefined ? {} : { checkpoint: pretrained };
  const worker = await startOwn(threads, device);
  try {
    say(`measuring the steps of an evaluation in ${precision}`);
    await worker.ask({ op: 'load', vit, image_size, queue_size, device, precision, ...checkpoint }, Timed);
    const tried = await worker.ask({ op: 'trial', ...inputs, k: COCO.kTest, seconds }, Tried);
    const architecture = architectureFor(options);
    const tokensOfText = tried.counts.tokens / tried.counts.distinct;
    const counts = { ...COCO, distinct: COCO.texts, tokens: COCO.texts * tokensOfText };
    const kept = Math.min(COCO.images, Math.floor(tried.image_budget / keptBytesOfImage(architecture, precision)));
    const plan = { kTest: COCO.kTest, steps: stepCosts(architecture), kept, ranks: 1 };
    const of = (distinctShare: number) => evaluationSeconds(counts, { ...tried.costs, distinctShare }, plan);
    return { precision, most: of(1), least: of(0), kept, sample: tried.sample, tokens: tokensOfText };
  } finally {
    await worker.close();
  }
}
