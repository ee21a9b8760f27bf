// Images that cannot be read where bad ones are skipped: how many may be grey, and the end of a run that has more.
import { UserError } from '../errors.js';
import { counted } from '../logging/text.js';

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

/** What is exchanged between ranks: `gatherValues` of `Ranks`. */
interface Exchange {
  readonly worldSize: number;
  gatherValues<T>(value: T): T[];
}

/** Counts the bad images of one set of images, each once however often it is read and on however many ranks. */
export class BadImages {
  readonly #paths = new Set<string>();
  /** Those that the other ranks do not know of yet. */
  #own: UnreadImage[] = [];

  /** @param what `the val split`; `images` is the number of different images in it */
  constructor(
    readonly what: string,
    readonly images: number,
  ) {}

  /** Whether there are too many, as far as this rank knows. */
  get areTooMany(): boolean {
    return this.#paths.size > mostBadImages(this.images);
  }

  /** Counts images that this rank has read. */
  note(bad: readonly UnreadImage[]): void {
    for (const image of bad) {
      if (!this.#paths.has(image.path)) this.#own.push(image);
      this.#paths.add(image.path);
    }
  }

  /** Counts images of a run of one rank. @throws UserError when they are too many */
  add(bad: readonly UnreadImage[]): void {
    for (const image of bad) {
      this.note([image]);
      if (this.areTooMany) throw tooManyBadImages(this.what, this.images, image.message);
    }
  }

  /** Counts those of all ranks; all must call it. @throws UserError, on all ranks, when they are too many together */
  exchange(ranks: Exchange): void {
    const all = ranks.gatherValues(this.#own).flat();
    this.#own = [];
    for (const { path } of all) this.#paths.add(path);
    const [first] = all;
    if (first !== undefined && this.areTooMany)
      throw tooManyBadImages(this.what, this.images, first.message, {
        found: this.#paths.size,
        worldSize: ranks.worldSize,
      });
  }
}

/** @param example the sentence of one of the bad images; `over` says how many were found on how many ranks */
export function tooManyBadImages(
  what: string,
  images: number,
  example: string,
  over?: { found: number; worldSize: number },
): UserError {
  const most = mostBadImages(images);
  const found =
    over === undefined
      ? `More than ${most} of the ${counted(images, 'image')} of ${what} cannot be read: too many to count as grey.`
      : `${over.found} of the ${counted(images, 'image')} of ${what} cannot be read, counted over ${counted(over.worldSize, 'rank')} so far: ` +
        `too many to count as grey, which at most ${most} may.`;
  return new UserError(`${found} One of them: ${example} "check-data" lists them all.`);
}
