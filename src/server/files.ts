// Images of the index and their thumbnails, by id: no request names a path.
import { createHash } from 'node:crypto';
import { open, realpath } from 'node:fs/promises';
import { sep } from 'node:path';
import { type Format, formatOf } from '../data/images/format.js';
import { loadSharp } from '../data/images/load-sharp.js';
import { HttpError } from './http-error.js';
import type { Searchable } from './service.js';

/** Bytes of thumbnails that are kept. */
const KEPT = 64 * 2 ** 20;
/** Thumbnails that are made at a time, so that the threads of libuv stay free for files. */
const AT_A_TIME = 2;
/** Longer side of a thumbnail, in pixels. */
const SIDE = 480;
/** A file beyond this is none that a browser should be given. */
const MAX_FILE = 256 * 2 ** 20;

const TYPES: Readonly<Record<Format, string>> = {
  jpeg: 'image/jpeg',
  png: 'image/png',
  gif: 'image/gif',
  webp: 'image/webp',
  tiff: 'image/tiff',
  bmp: 'image/bmp',
  ppm: 'image/x-portable-pixmap',
  avif: 'image/avif',
};

export interface Picture {
  bytes: Buffer;
  type: string;
  etag: string;
}

const gone = () => new HttpError(404, 'The file of this image is gone, or cannot be read.');

export class ImageFiles {
  readonly #index: Searchable;
  readonly #maxPixels: number;
  readonly #kept = new Map<string, Picture>(); // the least recently used first
  #bytes = 0;
  #making = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(index: Searchable, maxPixels: number) {
    this.#index = index;
    this.#maxPixels = maxPixels;
  }

  /**
   * Where the file of an image is, links resolved. @throws HttpError 404 where the index does not name it, or it now leads
   * out of the index's folder
   */
  async find(id: string): Promise<{ path: string; etag: string; size: number }> {
    const image = await this.#index.get(id);
    if (image === undefined) throw new HttpError(404, 'The index has no image of this id.');
    if (image.path === undefined) throw new HttpError(404, 'This image was given as bytes: there is no file to show.');
    const { folder } = this.#index.facts;
    try {
      const path = await realpath(image.path);
      const isOfFolder = folder !== undefined && inside(image.path, folder);
      if (
        isOfFolder ? !inside(path, await realpath(folder)) : path !== image.path && !(await leadsTo(image.path, path))
      )
        throw gone();
      const file = await open(path);
      try {
        const stats = await file.stat();
        if (!stats.isFile()) throw gone();
        return { path, etag: tagOf(`${id}\0${stats.size}\0${stats.mtimeMs}`), size: stats.size };
      } finally {
        await file.close();
      }
    } catch (error) {
      if (error instanceof HttpError) throw error;
      throw gone();
    }
  }

  /** The file as it is. @throws HttpError 404; 415 for what is no image */
  async image(id: string): Promise<Picture> {
    const { path, etag, size } = await this.find(id);
    const bytes = size > MAX_FILE ? undefined : await readWhole(path);
    const format = bytes === undefined ? undefined : formatOf(bytes);
    if (bytes === undefined || format === undefined)
      throw new HttpError(415, 'The file of this image is no image any more.');
    return { bytes, type: TYPES[format], etag };
  }

  /** At most 480 pixels wide and high. @throws as image */
  async thumbnail(id: string): Promise<Picture> {
    const { etag } = await this.find(id);
    const kept = this.#kept.get(etag);
    if (kept !== undefined) {
      this.#kept.delete(etag);
      this.#kept.set(etag, kept);
      return kept;
    }
    await this.#enter();
    try {
      const made = await this.#make(id);
      this.#keep(made);
      return made;
    } finally {
      this.#making -= 1;
      this.#waiting.shift()?.();
    }
  }

  async #make(id: string): Promise<Picture> {
    const image = await this.image(id);
    try {
      const sharp = await loadSharp();
      const bytes = await sharp(image.bytes, { limitInputPixels: this.#maxPixels, failOn: 'none' })
        .rotate() // as the camera was held
        .resize({ width: SIDE, height: SIDE, fit: 'inside', withoutEnlargement: true })
        .flatten({ background: '#ffffff' })
        .jpeg({ quality: 80 })
        .toBuffer();
      return { bytes, type: 'image/jpeg', etag: image.etag };
    } catch {
      return image; // of a kind that sharp does not read, and a browser may
    }
  }

  #keep(picture: Picture): void {
    const before = this.#kept.get(picture.etag);
    if (before !== undefined) this.#bytes -= before.bytes.length;
    this.#kept.set(picture.etag, picture);
    this.#bytes += picture.bytes.length;
    for (const [etag, { bytes }] of this.#kept) {
      if (this.#bytes <= KEPT) break;
      this.#kept.delete(etag);
      this.#bytes -= bytes.length;
    }
  }

  async #enter(): Promise<void> {
    while (this.#making >= AT_A_TIME) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#making += 1;
  }
}

const inside = (path: string, folder: string) => path.startsWith(folder.endsWith(sep) ? folder : folder + sep);

/** Whether only folders above the file are links: the file itself may have become one since it was added. */
async function leadsTo(path: string, real: string): Promise<boolean> {
  const end = path.lastIndexOf(sep);
  const folder = await realpath(path.slice(0, end) || sep);
  return (folder.endsWith(sep) ? folder : folder + sep) + path.slice(end + 1) === real;
}

async function readWhole(path: string): Promise<Buffer> {
  const file = await open(path).catch(() => {
    throw gone();
  });
  try {
    return await file.readFile();
  } finally {
    await file.close();
  }
}

const tagOf = (text: string) => `"${createHash('sha256').update(text).digest('base64url').slice(0, 27)}"`;
