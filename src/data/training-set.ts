// The training set: one image and one caption for each row, and which rows show the same image.
import { basename } from 'node:path';
import { at } from '../errors.js';
import { annotationFile, emptyNote, type RetrievalSplitOptions, requireFolder, requireSound } from './annotations.js';
import { MAX_WORDS, preCaption } from './caption.js';
import { ImageNames } from './image-names.js';
import type { TextList } from './text-list.js';
import { TrainRows } from './train-rows.js';

export interface TrainingSetOptions extends Omit<RetrievalSplitOptions, 'split'> {
  /** Takes a line where reading takes longer than a second. */
  print?: (line: string) => void;
  /** Milliseconds of a clock that does not jump. */
  now?: () => number;
}

export interface TrainingSet {
  /** The annotation file that was read. */
  file: string;
  /** Absolute path of each row's image. */
  images: TextList;
  /** Each row's caption after pre_caption. */
  captions: TextList;
  /** (rows) the number of each row's image, in the order in which the image_ids first appear. */
  idx: Int32Array;
  /** Number of different image_ids. */
  imageCount: number;
  /** The absolute paths of `images`, each once, and (rows) which of them each row has. */
  files?: { paths: TextList; of: Int32Array };
  /** Unusual rows, which are treated as the reference treats them. */
  notes?: string[];
}

/**
 * Reads the rows of the train split. They stay as bytes: `at` of images and captions makes a string of one.
 * @throws UserError when the file or image_root is absent, or with the first of the file's defects
 */
export async function loadTrainingSet(options: TrainingSetOptions): Promise<TrainingSet> {
  const { imageRoot, maxWords = MAX_WORDS, allowOutsideImages = false } = options;
  const file = await annotationFile(options, 'train');
  requireFolder(imageRoot);
  const names = new ImageNames(imageRoot, allowOutsideImages);
  const rows = new TrainRows(file, names, { imageRoot, progress: progressLines(file, options) });
  requireSound(rows.defects);
  const { captions, images, empty } = rows;
  const of = rows.imageOf.values;
  const paths = {
    length: images.strings.length,
    at: (image: number) => names.path(images.strings.at(image)),
  };
  const what = 'They are trained on as the reference trains on them';
  return {
    file,
    images: { length: of.length, at: (row) => paths.at(at(of, row)) },
    captions: { length: captions.length, at: (row) => preCaption(captions.at(row), maxWords) },
    idx: rows.idx.values,
    imageCount: rows.imageCount,
    files: { paths, of },
    notes: empty.length === 0 ? [] : [emptyNote(file, empty.length, what)],
  };
}

/** Prints how far reading is, first after a second, then every five. */
function progressLines(file: string, { print, now = () => performance.now() }: TrainingSetOptions) {
  if (print === undefined) return undefined;
  let due = now() + 1000;
  return (done: number, total: number) => {
    if (now() < due) return;
    due = now() + 5000;
    print(`Reading ${basename(file)}: ${megabytes(done)} of ${megabytes(total)} MB`);
  };
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
