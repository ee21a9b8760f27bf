// Whether annotations are the published ones of a data set, or somebody's own: to own ones nothing is fetched.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isRecord } from '../errors.js';
import { FileDefect, readForm, type Split } from './annotation-forms.js';

export type Dataset = 'coco' | 'flickr';

const FILE_STEMS: Record<Dataset, string> = { coco: 'coco_karpathy_', flickr: 'flickr30k_' };

/** The name of a split's annotation file. */
export function annotationFileName(dataset: Dataset, split: Split): string {
  return `${FILE_STEMS[dataset]}${split}.json`;
}

/** How the published files name images, and how many rows they have. */
const PUBLISHED: Record<Dataset, { image: RegExp; rows: Record<Split, number> }> = {
  coco: {
    image: /^(?:train|val)2014\/COCO_(?:train|val)2014_\d{12}\.jpg$/,
    rows: { train: 566747, val: 5000, test: 5000 },
  },
  flickr: { image: /^flickr30k-images\/\d+\.jpg$/, rows: { train: 145000, val: 1014, test: 1000 } },
};

/** An annotation file in `annRoot` that is not the published one of its split; undefined where there is none. */
export function ownAnnotations(annRoot: string, dataset: Dataset): string | undefined {
  for (const split of ['val', 'test', 'train'] satisfies Split[]) {
    const file = join(annRoot, annotationFileName(dataset, split));
    if (existsSync(file) && !isPublished(file, dataset, split)) return file;
  }
  return undefined;
}

function isPublished(file: string, dataset: Dataset, split: Split): boolean {
  const { image, rows } = PUBLISHED[dataset];
  let count = 0;
  let first: unknown;
  const take = (value: unknown) => {
    if (count++ === 0 && isRecord(value)) first = value.image;
    // Other names: the rest need not be read. Nor that of a large file.
    if (count === 1 && (!image.test(String(first)) || split === 'train')) throw new FileDefect();
  };
  try {
    readForm(file, { row: ({ value }) => take(value), defect: () => take(undefined) });
  } catch (error) {
    if (!(error instanceof FileDefect)) throw error;
    return split === 'train' && image.test(String(first));
  }
  return count === rows[split];
}
