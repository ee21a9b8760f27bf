// Annotation files in the reference's layout: rows to images, captions and their links, and every defect of a row.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { isAbsolute, join, normalize, resolve, sep } from 'node:path';
import { makeFolder } from '../disk/folder.js';
import { codeOf, messageOf, UserError } from '../errors.js';
import { MAX_WORDS, preCaption } from './caption.js';
import { jsonDefect } from './json-position.js';

export type Dataset = 'coco' | 'flickr';
export type Split = 'train' | 'val' | 'test';

/** Where the reference fetches annotations from. */
export const ANNOTATION_URL = 'https://storage.googleapis.com/sfr-vision-language-research/datasets/';

const FILE_STEMS: Record<Dataset, string> = { coco: 'coco_karpathy_', flickr: 'flickr30k_' };

/** Name of the annotation file of a split. */
export function annotationFileName(dataset: Dataset, split: Split): string {
  return `${FILE_STEMS[dataset]}${split}.json`;
}

/** One row, checked. `image` is as the file names it, `path` absolute; `row` counts from 1. */
export interface AnnotationRow {
  row: number;
  image: string;
  path: string;
  captions: string[];
  /** In train rows: what the row's image is known by; rows of one image have the same. */
  imageId?: string | number;
}

export interface Validation {
  rows: AnnotationRow[];
  /** Sentences, each with file, row and field. */
  defects: string[];
  /** What is odd but counts as it does in the reference. */
  notes: string[];
}

export interface RetrievalSplit {
  /** The annotation file that was read. */
  file: string;
  /** Absolute paths, one a row. */
  images: string[];
  /** All captions after pre_caption, row by row. */
  texts: string[];
  /** (texts) index of the text's image. */
  txt2img: Int32Array;
  /** For each image the indices of its texts. */
  img2txt: number[][];
  notes: string[];
}

export interface RetrievalSplitOptions {
  annRoot: string;
  imageRoot: string;
  dataset: Dataset;
  split: 'val' | 'test';
  /** Words kept of a caption; the reference keeps 30. */
  maxWords?: number;
  /** Fetches a file that is absent; without it an absent file is an error. */
  download?: ((url: string, destination: string) => Promise<void>) | undefined;
  /** Ends in a slash. */
  baseUrl?: string;
}

/**
 * Images and texts of an evaluation split, in the order in which the reference numbers them.
 * @throws UserError when the file or image_root is absent, or with the first defect of a row and the number of the others
 */
export async function loadRetrievalSplit(options: RetrievalSplitOptions): Promise<RetrievalSplit> {
  const { imageRoot, split, maxWords = MAX_WORDS } = options;
  const file = await annotationFile(options, split);
  requireFolder(imageRoot);
  const { rows, notes } = soundRows(validateAnnotations({ file, imageRoot, split, maxWords }));
  const img2txt: number[][] = [];
  const texts: string[] = [];
  const owners: number[] = [];
  for (const [image, { captions }] of rows.entries()) {
    img2txt.push(captions.map((_, k) => texts.length + k));
    for (const caption of captions) {
      texts.push(preCaption(caption, maxWords));
      owners.push(image);
    }
  }
  return { file, images: rows.map(({ path }) => path), texts, txt2img: Int32Array.from(owners), img2txt, notes };
}

/** @throws UserError with the first defect, where there is one, and the number of the others */
export function soundRows(validation: Validation): Validation {
  const { defects } = validation;
  const [first] = defects;
  if (first === undefined) return validation;
  const others = defects.length === 1 ? '' : ` (the first of ${defects.length} defects in this file)`;
  throw new UserError(`${first}${others}; correct the file, and run "check-data" to list every defect.`);
}

/** Path of a split's annotation file, fetched first where it is absent. @throws UserError when it cannot be had */
export async function annotationFile(
  options: Pick<RetrievalSplitOptions, 'annRoot' | 'dataset' | 'download' | 'baseUrl'>,
  split: Split,
): Promise<string> {
  const { annRoot, dataset, download, baseUrl = ANNOTATION_URL } = options;
  const name = annotationFileName(dataset, split);
  const file = join(annRoot, name);
  if (existsSync(file)) return file;
  if (download === undefined)
    throw new UserError(`The annotation file ${file} does not exist; put it there, or correct ann_root.`);
  try {
    makeFolder(annRoot);
  } catch (error) {
    throw new UserError(`The folder ann_root ${annRoot} cannot be made (${messageOf(error)}); name one that can.`, {
      cause: error,
    });
  }
  await download(baseUrl + name, file);
  return file;
}

/** @throws UserError when image_root is no folder */
export function requireFolder(imageRoot: string): void {
  const found = statSync(imageRoot, { throwIfNoEntry: false });
  if (found?.isDirectory()) return;
  const what = found === undefined ? 'does not exist' : 'is no folder';
  throw new UserError(`The folder image_root ${imageRoot} ${what}; correct image_root in the config.`);
}

/**
 * Reads an annotation file and finds all its defects. Rows with a defect are left out.
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
  if (read.length === 0) return none(`${file} has no row at all`);
  const root = resolve(imageRoot);
  const result: Validation = { rows: [], defects: [], notes: [] };
  const seen = new Map<string, number>();
  const repeated: string[] = [];
  for (const [index, value] of read.entries()) {
    const row = index + 1;
    const place = `${file} row ${row}`;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      result.defects.push(`${place}: expected an object but received ${kindOf(value)}`);
      continue;
    }
    const fields: Record<string, unknown> = { ...value };
    const before = result.defects.length;
    const add = (text: string) => result.defects.push(`${place}: ${text}`);
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
    result.notes.push(`${file}: rows with the same image count as different images, ${repeated[0]}${others}`);
  }
  return result;
}

/** The list in the file, or a sentence that says why there is none. */
function readRows(file: string): unknown[] | string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return `${file} does not exist`;
    if (codeOf(error) === 'ERR_ENCODING_INVALID_ENCODED_DATA') return `${file} is not in UTF-8`;
    return `${file} cannot be read (${messageOf(error)})`;
  }
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : `${file}: expected a list of rows but received ${kindOf(value)}`;
  } catch {
    const { line, column } = jsonDefect(text);
    return `${file} is broken JSON at line ${line}, column ${column}`;
  }
}

function checkImage(
  fields: Record<string, unknown>,
  root: string,
  add: (text: string) => void,
): { name: string; path: string } | undefined {
  const name = fields.image;
  if (name === undefined) {
    add('field image is missing');
  } else if (typeof name !== 'string' || name === '') {
    add(`expected the path of an image for field image but received ${kindOf(name)}`);
  } else if (name.includes('\0')) {
    add('field image has a NUL character in its path');
  } else if (isAbsolute(name) || normalize(name).split(sep)[0] === '..') {
    add(`field image "${name}" leaves image_root; write it relative to that folder`);
  } else {
    return { name, path: join(root, name) };
  }
  return undefined;
}

/** The row's captions as the file has them; the sentences of the defects go to `add`. */
function checkCaptions(
  fields: Record<string, unknown>,
  split: Split,
  maxWords: number,
  add: (text: string) => void,
): string[] {
  const value = fields.caption;
  const wanted = split === 'train' ? 'a string' : 'a list of strings';
  if (value === undefined) {
    add('field caption is missing');
    return [];
  }
  if (typeof value !== 'string' && (split === 'train' || !Array.isArray(value))) {
    add(`expected ${wanted} for field caption but received ${kindOf(value)}`);
    return [];
  }
  const list: unknown[] = typeof value === 'string' ? [value] : value;
  if (list.length === 0) add('field caption is an empty list; give the image a caption or leave it out');
  const captions: string[] = [];
  for (const [index, caption] of list.entries()) {
    const field = typeof value === 'string' ? 'caption' : `caption[${index}]`;
    if (typeof caption !== 'string') {
      add(`expected a string for field ${field} but received ${kindOf(caption)}`);
    } else if (caption === '') {
      add(`field ${field} is empty`);
    } else if (preCaption(caption, maxWords) === '') {
      add(`field ${field} has no words: nothing is left of ${JSON.stringify(caption)} after pre_caption`);
    } else {
      captions.push(caption);
    }
  }
  return captions;
}

function checkImageId(fields: Record<string, unknown>, add: (text: string) => void): string | number | undefined {
  const id = fields.image_id;
  if (id === undefined) {
    add('field image_id is missing');
  } else if (typeof id === 'string' && id !== '') {
    return id;
  } else if (typeof id === 'number' && Number.isInteger(id)) {
    // Beyond 2^53 two ids could be read as one.
    if (Number.isSafeInteger(id)) return id;
    add(`field image_id ${id} is beyond 2^53; write it as a string`);
  } else {
    add(`expected a string or a whole number for field image_id but received ${kindOf(id)}`);
  }
  return undefined;
}

/** A value as an error message names it. */
function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (value === '') return 'an empty string';
  if (typeof value === 'object') return 'an object';
  return typeof value === 'string' ? 'a string' : `${typeof value} ${String(value)}`;
}
