// What the authors of BLIP published for the checkpoints that a run may use, in percent, re-ranked: docs/weights.md.
import type { MetricName } from '../evaluation/bootstrap.js';
import type { SplitInsight } from '../evaluation/insight.js';
import type { RunFacts } from './run-files.js';

export interface Published {
  source: string;
  metrics: Partial<Record<MetricName, number>>;
}

const published = (source: string, txt: readonly number[], img: readonly number[]): Published =>
  ({
    source,
    metrics: { txt_r1: txt[0], txt_r5: txt[1], txt_r10: txt[2], img_r1: img[0], img_r5: img[1], img_r10: img[2] },
  }) as Published;

const RECALLS: Readonly<Record<string, Published>> = {
  'coco base': published('BLIP’s paper, table 5, ViT-B', [81.9, 95.4, 97.8], [64.3, 85.7, 91.5]),
  'coco large': published('BLIP’s paper, table 5, ViT-L', [82.4, 95.4, 97.9], [65.1, 86.3, 91.8]),
  'flickr base': published('LAVIS, docs/benchmark.rst', [96.9, 99.9, 100], [87.5, 97.6, 98.9]),
};

/** Images and captions of the test splits that these numbers are of. */
const TEST_SIZES: ReadonlyMap<string, readonly [images: number, texts: number]> = new Map([
  ['coco', [5000, 25010]],
  ['flickr', [1000, 5000]],
]);

/** The published numbers of the run's model on the published test split; undefined for any other data. */
export function publishedRecalls(facts: RunFacts | undefined, test: SplitInsight): Published | undefined {
  const [images, texts] = TEST_SIZES.get(facts?.dataset ?? '') ?? [];
  if (facts === undefined || test.images !== images || test.texts !== texts) return undefined;
  return RECALLS[`${facts.dataset} ${facts.vit}`];
}
