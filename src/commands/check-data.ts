// `check-data`: every defect of the annotations and images that a config names, one line each with file and row. Needs no
// LibTorch.
import { join } from 'node:path';
import type { RetrievalConfig } from '../config/load.js';
import { annotationFileName, requireFolder, type Split, validateAnnotations } from '../data/annotations.js';
import { ImageNames } from '../data/image-names.js';
import { ImageLoader } from '../data/loader/loader.js';
import { ownAnnotations } from '../data/published.js';
import { TrainRows } from '../data/train-rows.js';
import { lookAt } from '../disk/folder.js';
import { messageOf } from '../errors.js';
import { canDrawProgress, ProgressBar, type ProgressStream } from '../logging/progress-bar.js';
import { fitted } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import { loadConfig } from '../model/architecture.js';
import { asFlags } from './options.js';

export interface CheckDataOptions {
  /** Threads that decode. Default: one for each processor. */
  workers?: number;
  /** Images may lie outside image_root. */
  allowOutsideImages?: boolean;
}

const BATCH = 64;

/** The command: prints to stdout and sets the exit code. @throws UserError when the config cannot be used */
export function checkDataCommand(flags: {
  config: string;
  set: string[];
  allowOutsideImages: boolean;
  strictConfig: boolean;
  json?: boolean;
}): void {
  const { allowOutsideImages, strictConfig } = flags;
  const config = loadConfig(flags.config, flags.set, { strictConfig });
  if (flags.json === true) {
    const notes: string[] = config.notes.map(asFlags);
    const found = findDefects(config, { allowOutsideImages }, process.stderr, {
      note: (text) => notes.push(text),
      defect() {},
    });
    process.stdout.write(`${JSON.stringify({ ...found, notes }, undefined, 2)}\n`);
    process.exitCode = found.defects.length === 0 ? 0 : 1;
    return;
  }
  for (const note of config.notes) process.stdout.write(`Note: ${asFlags(note)}\n`);
  process.exitCode = checkData(config, { allowOutsideImages }, process.stdout);
}

/** What one split has. */
interface Found {
  rows: number;
  captions: number;
  defects: readonly string[];
  notes: readonly string[];
  /** Each image with the row that first has it. */
  images: Iterable<readonly [path: string, row: number]>;
}

type DataConfig = Pick<RetrievalConfig, 'imageRoot' | 'annRoot' | 'dataset'>;

/**
 * Checks the files of all three splits and decodes every image that they name, each once. Prints a line for each defect and
 * one for the whole.
 * @returns the exit code: 1 if there is a defect, else 0
 */
export function checkData(config: DataConfig, options: CheckDataOptions, out: ProgressStream): 0 | 1 {
  const line = (text: string) => out.write(`${fitted(text, out)}\n`);
  const found = findDefects(config, options, out, { note: (text) => line(`Note: ${text}`), defect: line });
  const { dataset, files, rows, captions, images, defects } = found;
  const last = defects.length === 0 ? 'no defect' : counted(defects.length, 'defect');
  const counts = [
    counted(files, 'file'),
    counted(rows, 'valid row'),
    counted(captions, 'caption'),
    counted(images, 'image'),
  ];
  line(`${dataset}: ${counts.join(', ')}: ${last}`);
  return defects.length === 0 ? 0 : 1;
}

/** What a check found, as `--json` prints it. */
interface DataReport {
  dataset: string;
  files: number;
  rows: number;
  captions: number;
  images: number;
  defects: string[];
}

/** Calls `said` as soon as something is found. */
function findDefects(
  config: DataConfig,
  options: CheckDataOptions,
  out: ProgressStream,
  said: Record<'note' | 'defect', (text: string) => void>,
): DataReport {
  const { annRoot, imageRoot, dataset } = config;
  const { allowOutsideImages = false, ...threads } = options;
  const defects: string[] = [];
  const defect = (text: string) => {
    defects.push(asFlags(text));
    said.defect(asFlags(text));
  };
  const places = new Map<string, string>();
  const counts = { files: 0, rows: 0, captions: 0 };
  for (const split of ['train', 'val', 'test'] satisfies Split[]) {
    const file = join(annRoot, annotationFileName(dataset, split));
    if (lookAt(file) === undefined) {
      const fetched = ownAnnotations(annRoot, dataset) === undefined;
      const remedy = fetched ? 'Put it there, or let --evaluate download the published one.' : 'Put your own there.';
      if (split === 'train') said.note(`${file} does not exist. Only training needs it.`);
      else defect(`${file} does not exist. ${remedy}`);
      continue;
    }
    const found = split === 'train' ? trainRows : evaluationRows;
    const { rows, captions, images, ...texts } = found({ file, imageRoot, split, allowOutsideImages });
    for (const text of texts.defects) defect(text);
    for (const text of texts.notes) said.note(text);
    counts.files += 1;
    counts.rows += rows;
    counts.captions += captions;
    for (const [path, row] of images) if (!places.has(path)) places.set(path, `${file} row ${row}`);
  }
  if (isFolder(imageRoot, defect)) decodeAll(places, threads, out, defect);
  return { dataset, ...counts, images: places.size, defects };
}

interface SplitFile {
  file: string;
  imageRoot: string;
  split: Split;
  allowOutsideImages: boolean;
}

function evaluationRows(options: SplitFile): Found {
  const { rows, defects, empty, notes } = validateAnnotations(options);
  const captions = rows.reduce((sum, row) => sum + row.captions.length, 0);
  const images = rows.map(({ path, row }) => [path, row] as const);
  return { rows: rows.length, captions, defects: [...defects, ...empty], notes, images };
}

function trainRows({ file, imageRoot, allowOutsideImages }: SplitFile): Found {
  const names = new ImageNames(imageRoot, allowOutsideImages);
  const { captions, images, firstRows, defects, empty } = new TrainRows(file, names, { imageRoot });
  const first = Array.from(firstRows.values, (row, image) => [names.path(images.strings.at(image)), row] as const);
  const { length } = captions;
  return { rows: length, captions: length, defects: [...defects, ...empty], notes: [], images: first };
}

function isFolder(imageRoot: string, defect: (text: string) => void): boolean {
  try {
    requireFolder(imageRoot);
    return true;
  } catch (error) {
    defect(messageOf(error));
    return false;
  }
}

/** @param places where each image is first named, by its path */
function decodeAll(
  places: ReadonlyMap<string, string>,
  options: Pick<CheckDataOptions, 'workers'>,
  out: ProgressStream,
  defect: (text: string) => void,
): void {
  const paths = [...places.keys()];
  const bar = canDrawProgress(out)
    ? new ProgressBar('Decoding images', paths.length, { stream: out, unit: 'images' })
    : undefined;
  const loader = new ImageLoader({
    ...options,
    paths,
    transform: { kind: 'decode' },
    size: 1, // unused
    batchSize: BATCH,
    skipBadImages: true,
  });
  try {
    for (let batch = loader.next(); batch !== null; batch = loader.next()) {
      if (batch.bad.length > 0) bar?.finish();
      for (const { path, message } of batch.bad) defect(`${places.get(path)}: ${message}`);
      batch.release();
      bar?.update(batch.start + batch.count);
    }
  } finally {
    bar?.finish();
    loader.close();
  }
}
