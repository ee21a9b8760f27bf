// `demo`: draws a data set, makes a small model, and evaluates it through the ordinary command. Nothing is downloaded.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../config/load.js';
import { writeInitialCheckpoint } from '../demo/checkpoint.js';
import { drawDataSet } from '../demo/data-set.js';
import { runRetrieval } from './retrieval.js';

export interface DemoOptions {
  outputDir: string;
  /** Images of the test split; val has three fifths as many. */
  images: number;
  seed: number;
}

const CONFIG = fileURLToPath(new URL('../../configs/demo.yaml', import.meta.url));

/** Runs the demo. @throws UserError when a file cannot be written, and for whatever the evaluation refuses */
export async function demoCommand({ outputDir, images, seed }: DemoOptions): Promise<void> {
  const val = Math.ceil((images * 3) / 5);
  console.log(`Drawing ${val} val and ${images} test images with five captions each in ${join(outputDir, 'data')}`);
  const { imageRoot, annRoot } = await drawDataSet(join(outputDir, 'data'), { train: 0, val, test: images, seed });

  const pretrained = join(outputDir, 'tiny.pth');
  const set = Object.entries({ image_root: imageRoot, ann_root: annRoot, pretrained }).map(
    ([key, value]) => `${key}=${JSON.stringify(value)}`,
  );
  console.log(`Making a small model with random weights: ${pretrained}`);
  await writeInitialCheckpoint(pretrained, loadConfig(CONFIG, set), seed);

  await runRetrieval({
    config: CONFIG,
    set,
    outputDir,
    evaluate: true,
    training: { resume: undefined, saveEvery: undefined, maxSteps: undefined, accumulate: 1 },
    device: undefined,
    seed,
    precision: 'fp32',
    saveScores: false,
    skipBadImages: false,
    allowPartial: false,
    quiet: false,
    notes: [],
  });
  console.log(
    'The weights are random, so the recalls are near the level of chance: this version evaluates and does not train yet.',
  );
}
