// Checks before a long run that a data set's images are there: some are first read hours later.
import { accessSync, constants } from 'node:fs';
import { codeOf, UserError } from '../errors.js';
import { counted } from '../logging/text.js';
import { mostBadImages } from './bad-images.js';
import { type TextList, texts } from './text-list.js';

export interface ImageSet {
  /** `the val split` */
  what: string;
  /** An array may have a path more than once; other lists have each once. */
  paths: TextList;
}

/** How many of the missing files a message names. */
const NAMED = 3;

/** `requireAllImages` of one set. */
export function requireImages(paths: TextList, what: string, options: { skipBadImages?: boolean } = {}): void {
  requireAllImages([{ what, paths }], options);
}

/**
 * @throws UserError when files are absent or may not be read: with the number in each set and the first of them. With
 * `skipBadImages` only where there are too many (`mostBadImages`).
 */
export function requireAllImages(sets: readonly ImageSet[], { skipBadImages = false } = {}): void {
  const found = sets
    .map(({ what, paths }) => missingOf(what, paths))
    .filter(({ missing, most }) => missing > (skipBadImages ? most : 0));
  if (found.length === 0) return;
  throw new UserError(`${found.map(({ sentence }) => sentence).join(' ')} ${remedy(found, skipBadImages)}`);
}

interface Missing {
  images: number;
  missing: number;
  /** How many may be skipped. */
  most: number;
  sentence: string;
}

function missingOf(what: string, paths: TextList): Missing {
  const different: TextList = Array.isArray(paths) ? [...new Set<string>(paths)] : paths;
  const absent: string[] = [];
  const barred: string[] = [];
  for (const [, path] of texts(different)) {
    const code = accessError(path);
    if (code === 'ENOENT' || code === 'ENOTDIR') absent.push(path);
    else if (code !== undefined) barred.push(path);
  }
  const sentence = (list: readonly string[], verb: string) => {
    const [first, ...others] = list.slice(0, NAMED);
    if (first === undefined) return [];
    const more = others.length === 0 ? '' : ` Then ${others.join(', ')}.`;
    return [
      `${list.length} of the ${counted(different.length, 'image')} of ${what} ${verb}; the first is ${first}.${more}`,
    ];
  };
  return {
    images: different.length,
    missing: absent.length + barred.length,
    most: mostBadImages(different.length),
    sentence: [...sentence(absent, 'do not exist'), ...sentence(barred, 'may not be read')].join(' '),
  };
}

/** The code of the error that opening the file would give. */
function accessError(path: string): string | undefined {
  try {
    accessSync(path, constants.R_OK);
    return undefined;
  } catch (error) {
    return codeOf(error) ?? 'unknown';
  }
}

/** Grey images are advised only where they may be used. */
function remedy(found: readonly Missing[], skipBadImages: boolean): string {
  if (found.some(({ images, missing }) => missing === images && images > 1))
    return 'Correct image_root, the folder to which the paths of the annotation are relative.';
  if (skipBadImages)
    return `Correct image_root or the annotation: \`skipBadImages\` allows at most ${Math.max(...found.map(({ most }) => most))}.`;
  const few = found.every(({ missing, most }) => missing <= most);
  return `Correct image_root or the annotation${few ? ', or set `skipBadImages` to use grey images instead' : ''}.`;
}
