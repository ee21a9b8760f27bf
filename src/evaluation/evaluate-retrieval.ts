// The evaluation of one split from its files: images through the loader, captions through the tokenizer, recalls.
import { join } from 'node:path';
import type { RetrievalSplit } from '../data/annotations.js';
import { BadImages, mostBadImages, tooManyBadImages } from '../data/bad-images.js';
import type { Tokenizer } from '../data/tokenizer.js';
import { oneRank } from '../distributed/ranks.js';
import { at } from '../errors.js';
import { pythonDuration } from '../logging/python-format.js';
import { counted } from '../logging/text.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { writeSafetensors } from '../torch/safetensors.js';
import { type EvaluationOptions, evaluateSplit, type PhaseTimes } from './evaluate.js';
import { imageSource } from './image-source.js';
import { chanceLevel, itmEval } from './recall.js';
import type { SplitReport } from './report.js';
import type { SplitScores } from './rerank.js';
import { denseScores, type ScoreRows } from './scores.js';

export interface RetrievalEvaluationOptions extends EvaluationOptions {
  /** Images decoded and encoded together; a CPU takes fewer. 32 by default. */
  batchSize?: number;
  /** Images that cannot be read count as grey instead of ending the evaluation, while they are few (1 %). */
  skipBadImages?: boolean;
  /** Takes a line that only the reference's output has; `print` by default. */
  echo?(line: string): void;
}

// On a CPU small batches keep activations in the caches; a GPU takes the config's.
export const CPU_BATCH = 8;

export interface SplitEvaluation {
  report: SplitReport;
  scores: SplitScores;
  seconds: PhaseTimes;
  /** Tokens of each text. */
  lengths: Int32Array;
}

/**
 * Scores and recalls of one split, called `name` ('val', 'test'). Synchronous: it blocks the thread.
 * @throws UserError where the split is empty, or an image cannot be read and `skipBadImages` is off, or too many cannot
 */
export function evaluateRetrieval(
  model: BlipRetrieval,
  tokenizer: Tokenizer,
  name: string,
  split: RetrievalSplit,
  options: RetrievalEvaluationOptions,
): SplitEvaluation {
  const { ranks = oneRank, print = () => {}, echo = print, batchSize = 32, skipBadImages = false } = options;
  const unread = new Float32Array(split.images.length);
  const what = `the ${name} split`;
  const different = new Set(split.images).size;
  const bad = new BadImages(what, different);
  echo('Computing features for evaluation...');
  const images = imageSource(split, {
    size: model.architecture.vision.imageSize,
    batchSize: model.device === 'cpu' ? Math.min(CPU_BATCH, batchSize) : batchSize,
    skipBadImages,
    onBadImage: (image, message) => {
      unread[image] = 1;
      bad.add([{ path: at(split.images, image), message }]);
    },
  });
  const texts = split.texts.map((text) => tokenizer.encode(text).ids);
  const input = { images, texts, encToken: tokenizer.encTokenId, truth: split };
  const { scores, seconds } = evaluateSplit(model, input, options);
  // Each rank knows of the images that it decoded, and some are decoded on two.
  const unreadAnywhere = ranks.sum(unread);
  const grey = split.images.filter((_, image) => at(unreadAnywhere, image) > 0);
  const [first] = grey;
  if (first !== undefined) {
    if (new Set(grey).size > mostBadImages(different)) throw tooManyBadImages(what, different, `${first}.`);
    print(
      `${grey.length} of ${counted(split.images.length, 'image')} of ${name} could not be read and ${grey.length === 1 ? 'counts' : 'count'} as grey. The first is ${first}.`,
    );
  }
  echo(`Evaluation time ${pythonDuration(seconds.features + seconds.rerank)}`);
  const report = {
    name,
    images: split.images.length,
    texts: split.texts.length,
    metrics: itmEval(scores.imageToText, scores.textToImage, split.txt2img, split.img2txt),
    chance: chanceLevel(split.img2txt, split.texts.length),
  };
  return { report, scores, seconds, lengths: Int32Array.from(texts, (text) => text.length) };
}

/** Writes scores_<name>.safetensors into `outputDir`. */
export async function saveScores(outputDir: string, name: string, scores: SplitScores): Promise<void> {
  await writeScores(join(outputDir, `scores_${name}.safetensors`), scores);
}

/** Writes a .safetensors file of i2t [images, texts] and t2i [texts, images], -100 where not re-ranked. */
export async function writeScores(path: string, scores: SplitScores): Promise<void> {
  const matrix = (rows: ScoreRows) => {
    const { buffer, byteOffset, byteLength } = denseScores(rows);
    const data = new Uint8Array(buffer, byteOffset, byteLength);
    return { dtype: 'float32' as const, shape: [rows.rows, rows.columns], data };
  };
  const tensors = new Map([
    ['i2t', matrix(scores.imageToText)],
    ['t2i', matrix(scores.textToImage)],
  ]);
  await writeSafetensors(path, tensors);
}
