// `check-data`: every defect of the annotations and images that a config names, one line each with file and row. Needs no
// LibTorch.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { RetrievalConfig } from '../config/load.js';
import { annotationFileName, requireFolder, type Split, validateAnnotations } from '../data/annotations.js';
import { ImageLoader } from '../data/loader/loader.js';
import { messageOf } from '../errors.js';
import { canDrawProgress, ProgressBar, type ProgressStream } from '../logging/progress-bar.js';
import { loadConfig } from '../model/architecture.js';
import { asFlags } from './options.js';

export interface CheckDataOptions {
  /** Threads that decode. Default: one for each processor. */
  workers?: number;
}

const BATCH = 64;

/** The command: prints to stdout and sets the exit code. @throws UserError when the config cannot be used */
export function checkDataCommand(flags: { config: string; set: string[]; strictConfig: boolean }): void {
  const config = loadConfig(flags.config, flags.set, { strictConfig: flags.strictConfig });
  for (const note of config.notes) process.stdout.write(`Note: ${asFlags(note)}\n`);
  process.exitCode = checkData(config, {}, process.stdout);
}

/**
 * Checks the files of all three splits and decodes every image that they name, each once.
 * @returns the exit code: 1 if there is a defect, else 0
 */
export function checkData(
  config: Pick<RetrievalConfig, 'imageRoot' | 'annRoot' | 'dataset'>,
  options: CheckDataOptions,
  out: ProgressStream,
): 0 | 1 {
  let defects = 0;
  const defect = (text: string) => {
    defects += 1;
    out.write(`${text}\n`);
  };
  const places = new Map<string, string>();
  const counts = { files: 0, rows: 0, captions: 0 };
  for (const split of ['train', 'val', 'test'] satisfies Split[]) {
    const file = join(config.annRoot, annotationFileName(config.dataset, split));
    if (!existsSync(file)) {
      if (split === 'train') out.write(`Note: ${file} does not exist. Only training needs it.\n`);
      else defect(`${file} does not exist. Put it there, or let --evaluate download the published one.`);
      continue;
    }
    const found = validateAnnotations({ file, imageRoot: config.imageRoot, split });
    for (const text of found.defects) defect(text);
    for (const text of found.notes) out.write(`Note: ${text}\n`);
    counts.files += 1;
    counts.rows += found.rows.length;
    for (const { row, path, captions } of found.rows) {
      counts.captions += captions.length;
      if (!places.has(path)) places.set(path, `${file} row ${row}`);
    }
  }
  if (isFolder(config.imageRoot, defect)) decodeAll(places, options, out, defect);
  out.write(
    `${config.dataset}: ${amount(counts.files, 'file')}, ${amount(counts.rows, 'valid row')}, ${amount(counts.captions, 'caption')}, ` +
      `${amount(places.size, 'image')}: ${defects === 0 ? 'no defect' : amount(defects, 'defect')}\n`,
  );
  return defects === 0 ? 0 : 1;
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
  options: CheckDataOptions,
  out: ProgressStream,
  defect: (text: string) => void,
): void {
  const paths = [...places.keys()];
  const bar = canDrawProgress(out) ? new ProgressBar('images', paths.length, { stream: out }) : undefined;
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

function amount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
