// `demo`: draws a data set, trains a small model on it from random weights, and evaluates it before and after, all with
// the main command. Nothing is downloaded.
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeInitialCheckpoint } from '../demo/checkpoint.js';
import { drawDataSet } from '../demo/data-set.js';
import { writeDemoReport } from '../demo/report.js';
import { manifestStamp } from '../index/manifest.js';
import { demandAddon, demandLibtorch } from '../libtorch/first-use.js';
import { loadConfig } from '../model/architecture.js';
import { Retriever } from '../retriever/retriever.js';
import { searchExample } from './index-folder.js';
import { defaultRetrievalOptions } from './options.js';
import { runRetrieval } from './retrieval.js';

export interface DemoOptions {
  outputDir: string;
  /** Images of the training split. */
  trainImages: number;
  /** Images of the test split; val has three fifths as many. */
  images: number;
  /** Epochs of training; the config's when undefined. 0 only evaluates. */
  epochs: number | undefined;
  seed: number;
  /** Continue from checkpoint_last.pth of an earlier, interrupted demo. */
  resume: boolean;
}

const CONFIG = fileURLToPath(new URL('../../configs/demo.yaml', import.meta.url));

/** Runs the demo. @throws UserError when a file cannot be written, or training or evaluation fails */
export async function demoCommand(demo: DemoOptions): Promise<void> {
  const { outputDir, trainImages, images, seed, resume } = demo;
  demandAddon(demandLibtorch()); // before anything is drawn: what is missing is the first line
  const started = performance.now();
  const data = join(outputDir, 'data');
  const [imageRoot, annRoot] = [join(data, 'images'), join(data, 'annotation')];
  const pretrained = join(outputDir, 'tiny.pth');
  const settings: Record<string, unknown> = { image_root: imageRoot, ann_root: annRoot, pretrained };
  if (demo.epochs !== undefined && demo.epochs > 0) settings.max_epoch = demo.epochs;
  const set = Object.entries(settings).map(([key, value]) => `${key}=${JSON.stringify(value)}`);

  if (!resume || !existsSync(pretrained)) {
    const val = Math.ceil((images * 3) / 5);
    console.log(
      `Drawing ${trainImages} train, ${val} val and ${images} test images with five captions each in ${data}.`,
    );
    await drawDataSet(data, { train: trainImages, val, test: images, seed });
    console.log(`Making a small model with random weights: ${pretrained}.`);
    await writeInitialCheckpoint(pretrained, loadConfig(CONFIG, set), seed);
  }

  const defaults = defaultRetrievalOptions();
  const training = { ...defaults.training, resume: resume ? 'latest' : undefined, saveEvery: 50 };
  const options = { ...defaults, config: CONFIG, set, outputDir, evaluate: true, training, seed };
  console.log('\nBefore training');
  const before = await runRetrieval(options);
  if (demo.epochs === 0) return;
  console.log('\nTraining. Ctrl-C saves and stops; "demo --resume" continues.');
  const after = await runRetrieval({ ...options, evaluate: false });
  if (process.exitCode !== undefined || before === undefined || after === undefined) return;
  const minutes = (performance.now() - started) / 60000;
  const command = 'npx blip-retrieval demo';
  const report = await writeDemoReport(outputDir, { before: before.test, after: after.test, minutes, command });
  console.log(
    `\nTest recall at 1 before and after: text ${percent(before.test.metrics.txt_r1)} and ${percent(after.test.metrics.txt_r1)}, image ${percent(before.test.metrics.img_r1)} and ${percent(after.test.metrics.img_r1)}`,
  );
  console.log(`The report is in ${report}.`);
  const index = join(outputDir, 'images.index');
  await indexPictures(join(imageRoot, 'test'), index, join(outputDir, 'checkpoint_best.pth'));
  console.log(`To search the test pictures: ${searchExample(index, 'a red circle above a blue square', ' -k 5')}`);
}

/** Indexes the pictures anew: an earlier demo's index is of another model. */
async function indexPictures(folder: string, output: string, checkpoint: string): Promise<void> {
  if ((await manifestStamp(output)) !== undefined) await rm(output, { recursive: true });
  await using blip = await Retriever.open(resolve(checkpoint));
  await using _index = await blip.createIndex(folder, { output });
}

const percent = (value: number) => `${value.toFixed(1)} %`;
