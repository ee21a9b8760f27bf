// The training set: one image and one caption for each row, and which rows show the same image.
import {
  annotationFile,
  type RetrievalSplitOptions,
  requireFolder,
  soundRows,
  validateAnnotations,
} from './annotations.js';
import { MAX_WORDS } from './caption.js';

export type TrainingSetOptions = Omit<RetrievalSplitOptions, 'split'>;

export interface TrainingSet {
  /** The annotation file that was read. */
  file: string;
  /** Absolute path of each row's image. */
  images: string[];
  /** Each row's caption after pre_caption. */
  captions: string[];
  /** (rows) the number of each row's image, in the order in which the image_ids first appear. */
  idx: Int32Array;
  /** Number of different image_ids. */
  imageCount: number;
}

/**
 * Reads the rows of the train split.
 * @throws UserError when the file or image_root is absent, or with the first of the file's defects
 */
export async function loadTrainingSet(options: TrainingSetOptions): Promise<TrainingSet> {
  const { imageRoot, maxWords = MAX_WORDS } = options;
  const file = await annotationFile(options, 'train');
  requireFolder(imageRoot);
  const { rows } = soundRows(validateAnnotations({ file, imageRoot, split: 'train', maxWords }));
  const numbers = new Map<unknown, number>();
  const idx = new Int32Array(rows.length);
  for (const [row, { imageId }] of rows.entries()) {
    // As keys of a Python dict: 7 and "7" are different images.
    const number = numbers.get(imageId) ?? numbers.size;
    numbers.set(imageId, number);
    idx[row] = number;
  }
  const captions = rows.flatMap((row) => row.captions);
  return { file, images: rows.map(({ path }) => path), captions, idx, imageCount: numbers.size };
}
