// `demo`: draws a data set, trains a small model on it from random weights, and evaluates it before and after, all with
// the main command. Nothing is downloaded.
import { copyFileSync, existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeInitialCheckpoint } from '../demo/checkpoint.js';
import { drawDataSet } from '../demo/data-set.js';
import { claimFolder } from '../demo/settings.js';
import { insightFile } from '../evaluation/insight.js';
import { manifestStamp } from '../index/manifest.js';
import { demandAddon, demandLibtorch } from '../libtorch/first-use.js';
import { fitted } from '../logging/terminal.js';
import { escapeHtml } from '../logging/text.js';
import { loadConfig } from '../model/architecture.js';
import { BEFORE_FILE } from '../report/run-files.js';
import { Retriever } from '../retriever/retriever.js';
import { searchExample } from './index-folder.js';
import { defaultRetrievalOptions } from './options.js';
import { runRetrieval } from './retrieval.js';
import { shellWord } from './shell-word.js';

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

const WHAT_IS_DRAWN =
  'Each picture shows two shapes (circle, square, triangle or ring) of two colours on a third, one beside or above the ' +
  'other; its captions say so in five ways, as "A red circle above a blue square."';

/** The command that continues this demo. */
function resumeCommand({ outputDir, trainImages, images, epochs, seed }: DemoOptions): string {
  const flags = {
    output_dir: outputDir,
    train_images: trainImages,
    images,
    seed,
    ...(epochs !== undefined && { epochs }),
  };
  const words = Object.entries(flags).map(([name, value]) => `--${name} ${shellWord(String(value))}`);
  return ['npx blip-retrieval demo --resume', ...words].join(' ');
}

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

  claimFolder(data, { seed, train_images: trainImages, images });
  if (!resume || !existsSync(pretrained)) {
    const val = Math.ceil((images * 3) / 5);
    say(`Drawing ${trainImages} train, ${val} val and ${images} test images with five captions each in ${data}.`);
    say(WHAT_IS_DRAWN);
    await drawDataSet(data, { train: trainImages, val, test: images, seed });
    console.log(`Making a small model with random weights: ${pretrained}.`);
    await writeInitialCheckpoint(pretrained, loadConfig(CONFIG, set), seed);
  }

  const defaults = defaultRetrievalOptions();
  const training = { ...defaults.training, resume: resume ? 'latest' : undefined, saveEvery: 50 };
  const continueWith = resumeCommand(demo);
  const options = { ...defaults, config: CONFIG, set, outputDir, evaluate: true, training, seed, continueWith };
  console.log('\nBefore training');
  const before = await runRetrieval(options);
  if (demo.epochs === 0) return;
  copyFileSync(join(outputDir, insightFile('test')), join(outputDir, BEFORE_FILE));
  say('\nTraining. Ctrl-C saves and stops; it continues with');
  console.log(`  ${continueWith}`);
  const after = await runRetrieval({ ...options, evaluate: false });
  if (process.exitCode !== undefined || before === undefined || after === undefined) return;
  const minutes = (performance.now() - started) / 60000;
  const { writeReport } = await import('../report/run-report.js');
  const report = await writeReport(outputDir, {
    title: 'A small BLIP, trained on drawn scenes',
    introduction: introduction(demo, minutes),
  });
  say(
    `\nTest recall at 1 before and after: text ${percent(before.test.metrics.txt_r1)} and ${percent(after.test.metrics.txt_r1)}, image ${percent(before.test.metrics.img_r1)} and ${percent(after.test.metrics.img_r1)}`,
  );
  console.log(`The report is in ${report}.`);
  const index = join(outputDir, 'images.index');
  await indexPictures(join(imageRoot, 'test'), index, join(outputDir, 'checkpoint_best.pth'));
  console.log(`To search the test pictures:\n  ${searchExample(index, 'a red circle above a blue square', ' -k 5')}`);
}

/** Indexes the pictures anew: an earlier demo's index is of another model. */
async function indexPictures(folder: string, output: string, checkpoint: string): Promise<void> {
  if ((await manifestStamp(output)) !== undefined) await rm(output, { recursive: true });
  await using blip = await Retriever.open(resolve(checkpoint));
  await using _index = await blip.createIndex(folder, { output });
}

/** What the report says below its title, in HTML. */
function introduction(demo: DemoOptions, minutes: number): string {
  return `<p>A model of three layers was trained from random weights on ${demo.trainImages} pictures of two coloured shapes with five captions each, then asked to
find, among new pictures and captions, the caption of a picture and the picture of a caption. It took ${minutes.toFixed(1)} minutes. To repeat this:
<code>${escapeHtml(resumeCommand(demo).replace(' --resume', ''))}</code></p>`;
}

/** Prints a sentence, which on a terminal does not break in the middle of a word. */
function say(line: string): void {
  console.log(fitted(line));
}

const percent = (value: number) => `${value.toFixed(1)} %`;
