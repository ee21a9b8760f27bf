// `demo`: draws a data set, trains a small model on it from random weights, and evaluates it before and after, all with
// the main command. Nothing is downloaded.
import { copyFileSync, existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeInitialCheckpoint } from '../demo/checkpoint.js';
import { drawDataSet } from '../demo/data-set.js';
import { claimFolder, earlierSettings } from '../demo/settings.js';
import { UserError } from '../errors.js';
import { insightFile } from '../evaluation/insight.js';
import { manifestStamp } from '../index/manifest.js';
import { demandAddon, demandLibtorch } from '../libtorch/first-use.js';
import { fitted } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import { loadConfig } from '../model/architecture.js';
import { BEFORE_FILE } from '../report/run-files.js';
import { Retriever } from '../retriever/retriever.js';
import { openCheckpoint } from '../torch/checkpoint/index.js';
import { type DemoFlags, demoFlags } from './demo-flags.js';
import { searchCommand } from './index-folder.js';
import { defaultRetrievalOptions } from './options.js';
import { latestOf } from './resumed-checkpoint.js';
import { runRetrieval } from './retrieval.js';
import { addReportWords } from './run-facts.js';
import { commandText, flagParts } from './shell-word.js';
import { sayAtSignals, stoppedWords } from './signal-words.js';

const CONFIG = fileURLToPath(new URL('../../configs/demo.yaml', import.meta.url));

const WHAT_IS_DRAWN =
  'Each picture shows two shapes (circle, square, triangle or ring) of two colours on a third, one beside or above the ' +
  'other; its captions say so in five ways, as "A red circle above a blue square."';

/** The value where it is not the default. */
const unlessDefault = <T>(value: T, initial: T): T | undefined => (value === initial ? undefined : value);

/** The command that continues this demo: its folder has the other flags. */
function resumeCommand({ outputDir }: DemoFlags): string {
  const parts = flagParts({ output_dir: unlessDefault(outputDir, demoFlags.output_dir.initial) });
  return commandText('demo', ['--resume', ...parts]);
}

/** The command that does the same again. */
function repeatCommand({ outputDir, trainImages, images, epochs, seed }: DemoFlags): string {
  const { output_dir, train_images, images: ofTest, seed: usual } = demoFlags;
  const parts = flagParts({
    output_dir: unlessDefault(outputDir, output_dir.initial),
    train_images: unlessDefault(trainImages, train_images.initial),
    images: unlessDefault(images, ofTest.initial),
    seed: unlessDefault(seed, usual.initial),
    epochs,
  });
  return commandText('demo', parts, { write: () => true });
}

/** With `--resume`, the flags of the demo that is resumed in the place of those that are not given. */
function resumed(flags: DemoFlags, given: readonly string[]): DemoFlags {
  const earlier = flags.resume ? earlierSettings(join(flags.outputDir, 'data')) : undefined;
  if (earlier === undefined) return flags;
  const kept = <T>(name: string, now: T, before: T): T => (given.includes(name) ? now : before);
  return {
    ...flags,
    seed: kept('seed', flags.seed, earlier.seed),
    trainImages: kept('train_images', flags.trainImages, earlier.train_images),
    images: kept('images', flags.images, earlier.images),
    epochs: kept('epochs', flags.epochs, earlier.epochs),
  };
}

/**
 * Runs the demo. `given` names the flags of the command line.
 * @throws UserError when a file cannot be written, or training or evaluation fails
 */
export async function demoCommand(flags: DemoFlags, given: readonly string[]): Promise<void> {
  const demo = resumed(flags, given);
  const { outputDir, trainImages, images, epochs, seed, resume } = demo;
  demandAddon(demandLibtorch()); // before anything is drawn: what is missing is the first line
  const started = performance.now();
  const data = join(outputDir, 'data');
  const [imageRoot, annRoot] = [join(data, 'images'), join(data, 'annotation')];
  const pretrained = join(outputDir, 'tiny.pth');
  const settings: Record<string, unknown> = { image_root: imageRoot, ann_root: annRoot, pretrained };
  if (demo.epochs !== undefined && demo.epochs > 0) settings.max_epoch = demo.epochs;
  const set = Object.entries(settings).map(([key, value]) => `${key}=${JSON.stringify(value)}`);

  demandEpochs(demo);
  claimFolder(data, { seed, train_images: trainImages, images, epochs });
  const continueWith = resumeCommand(demo);
  sayAtSignals(stoppedWords({ continueWith }));
  if (!resume || !existsSync(pretrained)) {
    const val = Math.ceil((images * 3) / 5);
    say(`Drawing ${trainImages} train, ${val} val and ${images} test images with five captions each in ${data}.`);
    say(WHAT_IS_DRAWN);
    await drawDataSet(data, { train: trainImages, val, test: images, seed });
    say(`Making a small model with random weights: ${pretrained}.`);
    await writeInitialCheckpoint(pretrained, loadConfig(CONFIG, set), seed);
  }

  const defaults = defaultRetrievalOptions();
  const training = { ...defaults.training, resume: resume ? 'latest' : undefined, saveEvery: 50 };
  const options = { ...defaults, config: CONFIG, set, outputDir, evaluate: true, training, seed, continueWith };
  console.log('\nBefore training');
  const before = await runRetrieval(options);
  if (demo.epochs === 0) return;
  copyFileSync(join(outputDir, insightFile('test')), join(outputDir, BEFORE_FILE));
  say('\nTraining. Ctrl-C saves and stops; it continues with');
  console.log(continueWith);
  const after = await runRetrieval({ ...options, evaluate: false });
  if (process.exitCode !== undefined || before === undefined || after === undefined) return;
  const minutes = (performance.now() - started) / 60000;
  const { writeReport } = await import('../report/run-report.js');
  await addReportWords(outputDir, {
    title: 'A small BLIP, trained on drawn scenes',
    introduction: introduction(demo, minutes),
    command: repeatCommand(demo).trim(),
  });
  const report = await writeReport(outputDir);
  say(
    `\nTest recall at 1 before and after: text ${percent(before.test.metrics.txt_r1)} and ${percent(after.test.metrics.txt_r1)}, image ${percent(before.test.metrics.img_r1)} and ${percent(after.test.metrics.img_r1)}`,
  );
  say(`The report is in ${report}.`);
  const index = join(outputDir, 'images.index');
  await indexPictures(join(imageRoot, 'test'), index, join(outputDir, 'checkpoint_best.pth'));
  console.log(`To search the test pictures:\n${searchCommand(index, 'a red circle above a blue square', ['-k 5'])}`);
}

/** @throws UserError where the demo that is resumed has trained the epochs that are asked for, and more */
function demandEpochs({ outputDir, epochs, resume }: DemoFlags): void {
  const latest = latestOf({ outputDir });
  if (!resume || epochs === undefined || epochs === 0 || !existsSync(latest)) return;
  const { root } = openCheckpoint(latest);
  const epoch = root instanceof Map ? root.get('epoch') : undefined;
  if (typeof epoch !== 'number' || epoch < epochs) return;
  throw new UserError(
    `${latest} is in epoch ${epoch + 1}, and --epochs asks for ${counted(epochs, 'epoch')}. Give --epochs ${epoch + 1} or more, or another --output_dir.`,
    { exitCode: 2 },
  );
}

/** Indexes the pictures anew: an earlier demo's index is of another model. */
async function indexPictures(folder: string, output: string, checkpoint: string): Promise<void> {
  if ((await manifestStamp(output)) !== undefined) await rm(output, { recursive: true });
  await using blip = await Retriever.open(resolve(checkpoint));
  await using _index = await blip.createIndex(folder, { output });
}

/** What the report says below its title, before the command. */
function introduction(demo: DemoFlags, minutes: number): string {
  return `A model of three layers was trained from random weights on ${demo.trainImages} pictures of two coloured shapes with five captions each, then asked to find, among new pictures and captions, the caption of a picture and the picture of a caption. It took ${minutes.toFixed(1)} minutes. To repeat this:`;
}

/** Prints a sentence, which on a terminal does not break in the middle of a word. */
function say(line: string): void {
  console.log(fitted(line));
}

const percent = (value: number) => `${value.toFixed(1)} %`;
