// Images that cannot be read where bad ones are skipped: how many may be grey, and the end of a run that has more.
import { UserError } from '../errors.js';

/** An image that could not be read. */
export interface UnreadImage {
  path: string;
  /** The sentence that says why. */
  message: string;
}

/**
 * The most of `images` that may be grey: 1 % of them, at least one, and never all. Recalls of more would say little, and
 * more are mostly a wrong image_root, pointers of Git LFS or a download that was stopped.
 */
export function mostBadImages(images: number): number {
  return Math.max(0, Math.min(images - 1, Math.max(1, Math.floor(images / 100))));
}

/** Counts the bad images of one set of images, each once however often it is read. */
export class BadImages {
  readonly #paths = new Set<string>();

  /** @param what `the val split`; `images` is the number of different images in it */
  constructor(
    readonly what: string,
    readonly images: number,
  ) {}

  /** @throws UserError when they are too many */
  add(bad: readonly UnreadImage[]): void {
    for (const { path, message } of bad) {
      this.#paths.add(path);
      if (this.#paths.size > mostBadImages(this.images)) throw tooManyBadImages(this.what, this.images, message);
    }
  }
}

/** @param example the sentence of one of the bad images */
export function tooManyBadImages(what: string, images: number, example: string): UserError {
  const most = mostBadImages(images);
  return new UserError(
    `More than ${most} of the ${images} images of ${what} cannot be read: too many to count as grey. ` +
      `One of them: ${example} "check-data" lists them all.`,
  );
}
