// Reads and checks annotation files in the reference's layout: images, captions, which belong together, and all defects.
import { join } from 'node:path';
import { lookAt, makeFolder } from '../disk/folder.js';
import { messageOf, UserError } from '../errors.js';
import { FileDefect, type FoundRow, noRows, readForm, rowsOf, type Split } from './annotation-forms.js';
import { checkRow } from './annotation-row.js';
import { MAX_WORDS, preCaption } from './caption.js';
import { ImageNames } from './image-names.js';
import { annotationFileName, type Dataset, ownAnnotations } from './published.js';

export type { Split } from './annotation-forms.js';
export { annotationFileName, type Dataset } from './published.js';

/** The reference downloads its annotations from here. */
export const ANNOTATION_URL = 'https://storage.googleapis.com/sfr-vision-language-research/datasets/';

/** One checked row. `image` is the path in the file, `path` the absolute one; `row` counts from 1. */
export interface AnnotationRow {
  row: number;
  image: string;
  path: string;
  /** After pre_caption; one in a train row. */
  captions: string[];
  /** In train rows: the id of the image; rows with the same image have the same id. */
  imageId?: string | number | bigint;
}

export interface Validation {
  rows: AnnotationRow[];
  /** One message each, with file, row and field. */
  defects: string[];
  /** Captions without words and rows without captions, one message each: they are used as the reference uses them. */
  empty: string[];
  /** Other unusual rows, which are treated as the reference treats them. */
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
  /** Images may lie outside imageRoot: names may be absolute or begin with `..`. */
  allowOutsideImages?: boolean | undefined;
}

/**
 * Images and texts of an evaluation split, in the reference's order.
 * @throws UserError when the file or image_root is absent, or with the first of the file's defects
 */
export async function loadRetrievalSplit(options: RetrievalSplitOptions): Promise<RetrievalSplit> {
  const { imageRoot, split, maxWords = MAX_WORDS, allowOutsideImages = false } = options;
  const file = await annotationFile(options, split);
  requireFolder(imageRoot);
  const found = validateAnnotations({ file, imageRoot, split, maxWords, allowOutsideImages });
  requireSound(found.defects);
  const { rows, empty, notes } = found;
  let count = 0;
  const img2txt = rows.map(({ captions }) => captions.map(() => count++));
  if (count === 0) throw new UserError(`${file} has no captions. Give its images captions.`);
  const txt2img = Int32Array.from(img2txt.flatMap((texts, image) => texts.map(() => image)));
  const captions = rows.flatMap((row) => row.captions);
  const images = rows.map(({ path }) => path);
  if (empty.length > 0) notes.push(emptyNote(file, empty.length, 'They are evaluated as the reference evaluates them'));
  return { file, images, texts: captions, txt2img, img2txt, notes };
}

/** The one note about captions without words. */
export function emptyNote(file: string, count: number, what: string): string {
  const places = count === 1 ? '1 caption or list of captions is' : `${count} captions or lists of captions are`;
  return `${file}: ${places} empty. ${what}; "check-data" lists them.`;
}

/** @throws UserError with the first of a file's defects and their number */
export function requireSound(defects: readonly string[]): void {
  const [first] = defects;
  if (first === undefined) return;
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
  if (lookAt(file) !== undefined) return file;
  if (download === undefined)
    throw new UserError(`The annotation file ${file} does not exist. Put it there, or correct ann_root.`);
  const own = ownAnnotations(annRoot, dataset);
  const copy = split === 'train' ? '' : ' (where you have but one, a copy of it)';
  if (own !== undefined)
    throw new UserError(
      `The annotation file ${file} does not exist, and the published one is not fetched beside ${own}, which is not a published one. Put your ${split} split there${copy}, or correct ann_root.`,
    );
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
  const found = lookAt(imageRoot);
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
  allowOutsideImages?: boolean;
}): Validation {
  const { file, imageRoot, split, maxWords = MAX_WORDS, allowOutsideImages } = options;
  const names = new ImageNames(imageRoot, allowOutsideImages);
  const result: Validation = { rows: [], defects: [], empty: [], notes: [] };
  const seen = new Map<string, number>();
  const repeated: string[] = [];
  const add = ({ row, where }: FoundRow, value: unknown) => {
    const found = checkRow(value, {
      split,
      names,
      defect: (text) => result.defects.push(`${where}: ${text}`),
      empty: (text) => result.empty.push(`${where}: ${text}`),
    });
    if (found === undefined) return;
    const path = names.path(found.image);
    const first = seen.get(path);
    if (first === undefined) seen.set(path, row);
    else repeated.push(`"${found.image}" in rows ${first} and ${row}`);
    const captions = found.captions.map((caption) => preCaption(caption, maxWords));
    result.rows.push({ ...found, row, path, captions });
  };
  try {
    const taker = {
      row(found: FoundRow) {
        if (found.split !== undefined && found.split !== split) return;
        for (const value of rowsOf(found, split)) add(found, value);
      },
      defect: (text: string) => result.defects.push(text),
    };
    const form = readForm(file, taker, { imageRoot });
    if (result.rows.length === 0 && result.defects.length === 0) result.defects.push(noRows(file, form, split));
  } catch (error) {
    if (!(error instanceof FileDefect)) throw error;
    return { rows: [], defects: [error.message], empty: [], notes: [] };
  }
  // In train, every caption of an image is a row of its own.
  if (repeated.length > 0 && split !== 'train') {
    const others = repeated.length === 1 ? '' : ` and ${repeated.length - 1} more`;
    result.notes.push(`${file}: rows with the same image count as different images: ${repeated[0]}${others}.`);
  }
  return result;
}
