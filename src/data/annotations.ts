// Reads and checks annotation files in the reference's layout: images, captions, which belong together, and all defects.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { isAbsolute, join, normalize, resolve, sep } from 'node:path';
import { makeFolder } from '../disk/folder.js';
import { codeOf, messageOf, UserError } from '../errors.js';
import { MAX_WORDS, preCaption } from './caption.js';
import { jsonDefect } from './json-position.js';

export type Dataset = 'coco' | 'flickr';
export type Split = 'train' | 'val' | 'test';

/** The reference downloads its annotations from here. */
export const ANNOTATION_URL = 'https://storage.googleapis.com/sfr-vision-language-research/datasets/';

const FILE_STEMS: Record<Dataset, string> = { coco: 'coco_karpathy_', flickr: 'flickr30k_' };

/** The name of a split's annotation file. */
export function annotationFileName(dataset: Dataset, split: Split): string {
  return `${FILE_STEMS[dataset]}${split}.json`;
}

/** One checked row. `image` is the path in the file, `path` the absolute one; `row` counts from 1. */
export interface AnnotationRow {
  row: number;
  image: string;
  path: string;
  /** After pre_caption; one in a train row. */
  captions: string[];
  /** In train rows: the id of the image; rows with the same image have the same id. */
  imageId?: string | number;
}

export interface Validation {
  rows: AnnotationRow[];
  /** One message each, with file, row and field. */
  defects: string[];
  /** Unusual rows, which are treated as the reference treats them. */
  notes: string[];
}

export interface RetrievalSplit {
  /** The annotation file that was read. */
  file: string;
  /** Absolute paths, one for each row. */
  images: string[];
  /** All captions after pre_caption, row by row. */
  texts: string[];
  /** (texts) the index of each text's image. */
  txt2img: Int32Array;
  /** The indices of each image's texts. */
  img2txt: number[][];
  notes: string[];
}

export interface RetrievalSplitOptions {
  annRoot: string;
  imageRoot: string;
  dataset: Dataset;
  split: 'val' | 'test';
  /** Longest caption in words, the rest is cut off; 30 by default, as in the reference. */
  maxWords?: number;
  /** Downloads an absent file; without it an absent file is an error. */
  download?: ((url: string, destination: string) => Promise<void>) | undefined;
  /** Ends with a slash. */
  baseUrl?: string;
}

/**
 * Images and texts of an evaluation split, in the reference's order.
 * @throws UserError when the file or image_root is absent, or with the first of the file's defects
 */
export async function loadRetrievalSplit(options: RetrievalSplitOptions): Promise<RetrievalSplit> {
  const { imageRoot, split, maxWords = MAX_WORDS } = options;
  const file = await annotationFile(options, split);
  requireFolder(imageRoot);
  const { rows, notes } = soundRows(validateAnnotations({ file, imageRoot, split, maxWords }));
  let count = 0;
  const img2txt = rows.map(({ captions }) => captions.map(() => count++));
  const txt2img = Int32Array.from(img2txt.flatMap((texts, image) => texts.map(() => image)));
  const captions = rows.flatMap((row) => row.captions);
  return { file, images: rows.map(({ path }) => path), texts: captions, txt2img, img2txt, notes };
}

/** A validation without defects. @throws UserError with the first defect and the number of defects */
export function soundRows(validation: Validation): Validation {
  const { defects } = validation;
  const [first] = defects;
  if (first === undefined) return validation;
  const many = defects.length === 1 ? '' : ` This is the first of ${defects.length} defects in this file.`;
  throw new UserError(`${first}${many} Correct the file; "check-data" lists every defect.`);
}

/** The path of a split's annotation file, downloaded if absent. @throws UserError when it cannot be downloaded */
export async function annotationFile(
  options: Pick<RetrievalSplitOptions, 'annRoot' | 'dataset' | 'download' | 'baseUrl'>,
  split: Split,
): Promise<string> {
  const { annRoot, dataset, download, baseUrl = ANNOTATION_URL } = options;
  const name = annotationFileName(dataset, split);
  const file = join(annRoot, name);
  if (existsSync(file)) return file;
  if (download === undefined)
    throw new UserError(`The annotation file ${file} does not exist. Put it there, or correct ann_root.`);
  try {
    makeFolder(annRoot);
  } catch (error) {
    const why = messageOf(error);
    throw new UserError(`The folder ann_root ${annRoot} cannot be made (${why}). Choose another ann_root.`, {
      cause: error,
    });
  }
  await download(baseUrl + name, file);
  return file;
}

/** @throws UserError when image_root is not a folder */
export function requireFolder(imageRoot: string): void {
  const found = statSync(imageRoot, { throwIfNoEntry: false });
  if (found?.isDirectory()) return;
  const what = found === undefined ? 'does not exist' : 'is not a folder';
  throw new UserError(`The folder image_root ${imageRoot} ${what}. Correct image_root in the config.`);
}

/**
 * Reads an annotation file and finds all its defects; rows with a defect are omitted.
 * Train rows are {caption, image, image_id}; val and test rows {image, caption: [..]}, where a string is one caption.
 */
export function validateAnnotations(options: {
  file: string;
  imageRoot: string;
  split: Split;
  maxWords?: number;
}): Validation {
  const { file, imageRoot, split, maxWords = MAX_WORDS } = options;
  const none = (defect: string): Validation => ({ rows: [], defects: [defect], notes: [] });
  const read = readRows(file);
  if (typeof read === 'string') return none(read);
  if (read.length === 0) return none(`${file} has no rows.`);
  const root = resolve(imageRoot);
  const result: Validation = { rows: [], defects: [], notes: [] };
  const seen = new Map<string, number>();
  const repeated: string[] = [];
  for (const [index, value] of read.entries()) {
    const row = index + 1;
    const add = (text: string) => result.defects.push(`${file} row ${row}: ${text}`);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      add(`expected an object but received ${kindOf(value)}.`);
      continue;
    }
    const fields: Record<string, unknown> = { ...value };
    const before = result.defects.length;
    const image = checkImage(fields, root, add);
    const captions = checkCaptions(fields, split, maxWords, add);
    const imageId = split === 'train' ? checkImageId(fields, add) : undefined;
    if (result.defects.length > before || image === undefined) continue;
    const first = seen.get(image.path);
    if (first === undefined) seen.set(image.path, row);
    else repeated.push(`"${image.name}" in rows ${first} and ${row}`);
    const named = { row, image: image.name, path: image.path, captions };
    result.rows.push(imageId === undefined ? named : { ...named, imageId });
  }
  // In train, every caption of an image is a row of its own.
  if (repeated.length > 0 && split !== 'train') {
    const others = repeated.length === 1 ? '' : ` and ${repeated.length - 1} more`;
    result.notes.push(`${file}: rows with the same image count as different images: ${repeated[0]}${others}.`);
  }
  return result;
}

/** The list in the file, or a message that says why there is none. */
function readRows(file: string): unknown[] | string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return `${file} does not exist.`;
    if (codeOf(error) === 'ERR_ENCODING_INVALID_ENCODED_DATA') return `${file} is not in UTF-8.`;
    return `${file} cannot be read (${messageOf(error)}).`;
  }
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : `${file}: expected a list of rows but received ${kindOf(value)}.`;
  } catch {
    const { line, column } = jsonDefect(text);
    return `${file} is broken JSON at line ${line}, column ${column}.`;
  }
}

function checkImage(
  fields: Record<string, unknown>,
  root: string,
  add: (text: string) => void,
): { name: string; path: string } | undefined {
  const name = fields.image;
  if (name === undefined) {
    add('field image is missing.');
  } else if (typeof name !== 'string' || name === '') {
    add(`expected the path of an image for field image but received ${kindOf(name)}.`);
  } else if (name.includes('\0')) {
    add('field image has a NUL character in its path.');
  } else if (isAbsolute(name) || normalize(name).split(sep)[0] === '..') {
    add(`field image "${name}" leaves image_root. Write it relative to that folder.`);
  } else {
    return { name, path: join(root, name) };
  }
  return undefined;
}

/** The row's captions after pre_caption; defects are passed to `add`. */
function checkCaptions(
  fields: Record<string, unknown>,
  split: Split,
  maxWords: number,
  add: (text: string) => void,
): string[] {
  const value = fields.caption;
  const wanted = split === 'train' ? 'a string' : 'a list of strings';
  if (value === undefined) {
    add('field caption is missing.');
    return [];
  }
  if (typeof value !== 'string' && (split === 'train' || !Array.isArray(value))) {
    add(`expected ${wanted} for field caption but received ${kindOf(value)}.`);
    return [];
  }
  const list: unknown[] = typeof value === 'string' ? [value] : value;
  if (list.length === 0) add('field caption is an empty list. Give the image a caption or remove the row.');
  const captions: string[] = [];
  for (const [index, caption] of list.entries()) {
    const field = typeof value === 'string' ? 'caption' : `caption[${index}]`;
    const cleaned = typeof caption === 'string' ? preCaption(caption, maxWords) : undefined;
    if (cleaned === undefined) {
      add(`expected a string for field ${field} but received ${kindOf(caption)}.`);
    } else if (caption === '') {
      add(`field ${field} is empty.`);
    } else if (cleaned === '') {
      add(`field ${field} has no words: nothing is left of ${JSON.stringify(caption)} after pre_caption.`);
    } else {
      captions.push(cleaned);
    }
  }
  return captions;
}

function checkImageId(fields: Record<string, unknown>, add: (text: string) => void): string | number | undefined {
  const id = fields.image_id;
  if (id === undefined) {
    add('field image_id is missing.');
  } else if (typeof id === 'string' && id !== '') {
    return id;
  } else if (typeof id === 'number' && Number.isInteger(id)) {
    // JSON.parse could read two different ids beyond 2^53 as the same number.
    if (Number.isSafeInteger(id)) return id;
    add(`field image_id ${id} is beyond 2^53. Write it as a string.`);
  } else {
    add(`expected a string or a whole number for field image_id but received ${kindOf(id)}.`);
  }
  return undefined;
}

/** The name of a JSON value in an error message. */
function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (value === '') return 'an empty string';
  if (typeof value === 'object') return 'an object';
  return typeof value === 'string' ? 'a string' : `${typeof value} ${String(value)}`;
}
