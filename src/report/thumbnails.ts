// Small pictures for a page, inside its text. One that cannot be read becomes its name.
import { join } from 'node:path';
import { decodeRgb } from '../data/images/decode.js';
import { loadSharp } from '../data/images/load-sharp.js';

/** Longer side in pixels, best first: sharp at 8 rem on screens of two pixels a point. The others are for a page that would be too large. */
const SIDES = [192, 128, 64] as const;
/** All that a report shows together: the page stays below 2 MB, since base64 adds a third. */
const MOST_BYTES = 1_100_000;

/** Thumbnails by path inside `imageRoot`: a data: URI, or undefined where the image cannot be read. */
export class Thumbnails {
  readonly #made = new Map<string, string>();
  /** Images that could not be read. */
  unread = 0;

  constructor(readonly imageRoot: string) {}

  /** Makes those of `images`; one that is named twice is shown twice. */
  async make(images: readonly string[]): Promise<void> {
    for (const side of SIDES) {
      const bytes = await this.#makeAt(side, images);
      if (bytes <= MOST_BYTES) return;
    }
  }

  get(image: string): string | undefined {
    return this.#made.get(image);
  }

  /** All at one size. @returns the bytes of what is shown */
  async #makeAt(side: number, images: readonly string[]): Promise<number> {
    const jpegs = new Map<string, Buffer | undefined>();
    for (const image of images)
      if (!jpegs.has(image)) jpegs.set(image, await jpegOf(join(this.imageRoot, image), side).catch(() => undefined));
    this.#made.clear();
    for (const [image, jpeg] of jpegs)
      if (jpeg !== undefined) this.#made.set(image, `data:image/jpeg;base64,${jpeg.toString('base64')}`);
    this.unread = jpegs.size - this.#made.size;
    return images.reduce((sum, image) => sum + (jpegs.get(image)?.length ?? 0), 0);
  }
}

async function jpegOf(path: string, side: number): Promise<Buffer> {
  const { data, width, height } = await decodeRgb(path);
  const sharp = await loadSharp();
  return sharp(data, { raw: { width, height, channels: 3 } })
    .resize(side, side, { fit: 'inside', withoutEnlargement: true })
    .jpeg({ quality: 72, mozjpeg: true })
    .toBuffer();
}
