// Small pictures for a page, inside its text. One that cannot be read becomes its name.
import { join } from 'node:path';
import { decodeRgb } from '../data/images/decode.js';
import { loadSharp } from '../data/images/load-sharp.js';

/** Longer side in pixels: sharp at 8 rem on screens of two pixels a point. */
const SIDE = 192;
/** All of a report's thumbnails together: the page stays below 2 MB, since base64 adds a third. */
const MOST_BYTES = 1_100_000;

/** Thumbnails by path inside `imageRoot`: a data: URI, or undefined where the image cannot be read or room has run out. */
export class Thumbnails {
  readonly #made = new Map<string, string | undefined>();
  #bytes = 0;

  constructor(readonly imageRoot: string) {}

  /** Makes those of `images`, in their order; each is decoded once. */
  async make(images: Iterable<string>): Promise<void> {
    for (const image of images) if (!this.#made.has(image)) this.#made.set(image, await this.#thumbnail(image));
  }

  get(image: string): string | undefined {
    return this.#made.get(image);
  }

  async #thumbnail(image: string): Promise<string | undefined> {
    if (this.#bytes >= MOST_BYTES) return undefined;
    const jpeg = await jpegOf(join(this.imageRoot, image)).catch(() => undefined);
    if (jpeg === undefined) return undefined;
    this.#bytes += jpeg.length;
    return `data:image/jpeg;base64,${jpeg.toString('base64')}`;
  }
}

async function jpegOf(path: string): Promise<Buffer> {
  const { data, width, height } = await decodeRgb(path);
  const sharp = await loadSharp();
  return sharp(data, { raw: { width, height, channels: 3 } })
    .resize(SIDE, SIDE, { fit: 'inside', withoutEnlargement: true })
    .jpeg({ quality: 72, mozjpeg: true })
    .toBuffer();
}
