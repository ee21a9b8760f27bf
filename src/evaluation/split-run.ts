// The evaluation of one split from its files: images through the loader, scores, recalls, and what is printed of it.
import { join } from 'node:path';
import type { RetrievalSplit } from '../data/annotations.js';
import { ImageLoader } from '../data/loader/loader.js';
import type { Tokenizer } from '../data/tokenizer.js';
import { pythonDuration } from '../logging/python-format.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { writeSafetensors } from '../torch/safetensors.js';
import { type EvaluationRanks, evaluateSplit } from './evaluate.js';
import type { ImageSource, LoopLog } from './image-store.js';
import { itmEval } from './recall.js';
import { chanceLevel, type SplitReport } from './report.js';
import type { SplitScores } from './rerank.js';
import { denseScores, type ScoreRows } from './scores.js';

export interface SplitRunOptions {
  kTest: number;
  /** Images decoded and encoded together; the CPU takes fewer. */
  batchSize: number;
  /** Bytes for kept features; undefined: by the memory there is. */
  featureMemory: number | undefined;
  skipBadImages: boolean;
  /** Undefined for one process. */
  ranks?: EvaluationRanks | undefined;
  startLoop(header: string, total: number): LoopLog;
  print(line: string): void;
}

// On a CPU small batches keep activations in the caches; a GPU takes the config's.
export const CPU_BATCH = 8;

/** The split's images through loader workers; those that could not be read become 1 in `bad`, (images). */
function imageSource(
  model: BlipRetrieval,
  split: RetrievalSplit,
  options: SplitRunOptions,
  bad: Float32Array,
): ImageSource {
  const { skipBadImages } = options;
  const batchSize = model.device === 'cpu' ? Math.min(CPU_BATCH, options.batchSize) : options.batchSize;
  const size = model.architecture.vision.imageSize;
  return {
    count: split.images.length,
    open(images) {
      const paths = Array.from(images, (image) => split.images[image] ?? '');
      const loader = new ImageLoader({ paths, size, batchSize, skipBadImages });
      return {
        next() {
          const batch = loader.next();
          for (const { index } of batch?.bad ?? []) bad[images[index] ?? 0] = 1;
          return batch;
        },
        close: () => loader.close(),
      };
    },
  };
}

/** Scores and recalls of one split, called `name`. Synchronous: it blocks the thread, the loader's workers go on. */
export function runSplit(
  model: BlipRetrieval,
  tokenizer: Tokenizer,
  name: string,
  split: RetrievalSplit,
  options: SplitRunOptions,
): { report: SplitReport; scores: SplitScores } {
  const { print } = options;
  const unread = new Float32Array(split.images.length);
  print('Computing features for evaluation...');
  const input = {
    images: imageSource(model, split, options, unread),
    texts: split.texts.map((text) => tokenizer.encode(text).ids),
    encToken: tokenizer.encTokenId,
  };
  const { scores, seconds } = evaluateSplit(model, input, options);
  // Each rank knows of the images that it decoded, and some are decoded on two.
  const everywhere = options.ranks?.sum(unread) ?? unread;
  const bad = split.images.filter((_, image) => (everywhere[image] ?? 0) > 0);
  if (bad.length > 0)
    print(
      `${bad.length} of ${split.images.length} images of ${name} could not be read and count as grey: ${bad[0]} is the first`,
    );
  print(`Evaluation time ${pythonDuration(seconds.features + seconds.rerank)}`);
  const report = {
    name,
    images: split.images.length,
    texts: split.texts.length,
    metrics: itmEval(scores.imageToText, scores.textToImage, split.txt2img, split.img2txt),
    chance: chanceLevel(split.img2txt, split.texts.length),
  };
  return { report, scores };
}

/** Writes scores_<name>.safetensors: i2t [images, texts] and t2i [texts, images], -100 where not re-ranked. */
export async function saveScores(outputDir: string, name: string, scores: SplitScores): Promise<void> {
  const matrix = (rows: ScoreRows) => {
    const { buffer, byteOffset, byteLength } = denseScores(rows);
    const data = new Uint8Array(buffer, byteOffset, byteLength);
    return { dtype: 'float32' as const, shape: [rows.rows, rows.columns], data };
  };
  const tensors = new Map([
    ['i2t', matrix(scores.imageToText)],
    ['t2i', matrix(scores.textToImage)],
  ]);
  await writeSafetensors(join(outputDir, `scores_${name}.safetensors`), tensors);
}
