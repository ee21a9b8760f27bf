// The unfinished file of a download, and the note beside it that tells which file it is part of.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { cannotWrite } from '../disk/atomic-file.js';
import { messageOf, UserError } from '../errors.js';
import type { HttpAnswer } from './http.js';

/** What a later attempt needs to ask for the rest of the same file. */
export interface PartState {
  url: string;
  etag?: string;
  lastModified?: string;
  total?: number;
}

export class PartFile {
  readonly path: string;
  readonly #statePath: string;

  constructor(destination: string) {
    this.path = `${destination}.part`;
    this.#statePath = `${destination}.part.json`;
  }

  /** Bytes in it; 0 where there is none. */
  async received(): Promise<number> {
    return (await stat(this.path).catch(() => undefined))?.size ?? 0;
  }

  /** What it is part of, if that is the file at `url`. */
  async state(url: string): Promise<PartState | undefined> {
    try {
      const state: unknown = JSON.parse(await readFile(this.#statePath, 'utf8'));
      return isPartState(state) && state.url === url ? state : undefined;
    } catch {
      return undefined;
    }
  }

  /** Begins anew: a new file rather than an emptied one, so that whoever has the old one open keeps what it has. */
  async begin(url: string, answer: HttpAnswer, total: number | undefined): Promise<void> {
    await this.discard();
    const etag = answer.header('etag');
    const lastModified = answer.header('last-modified');
    const state: PartState = {
      url,
      ...(etag === undefined ? {} : { etag }),
      ...(lastModified === undefined ? {} : { lastModified }),
      ...(total === undefined ? {} : { total }),
    };
    try {
      await writeFile(this.#statePath, `${JSON.stringify(state)}\n`);
      await writeFile(this.path, '', { flag: 'wx' });
    } catch (error) {
      throw cannotWrite(this.path, error);
    }
  }

  async open(): Promise<FileHandle> {
    return open(this.path, 'r+').catch((error: unknown) => {
      throw cannotWrite(this.path, error);
    });
  }

  /** Forgets the note: the file has got its own name. */
  async forget(): Promise<void> {
    await rm(this.#statePath, { force: true });
  }

  async discard(): Promise<void> {
    await this.forget();
    await rm(this.path, { force: true });
  }

  async looksLikeHtml(): Promise<boolean> {
    const handle = await this.open();
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(512), 0, 512, 0);
      return /^\ufeff?\s*(?:<!doctype\s+html|<html[\s>])/i.test(buffer.toString('utf8', 0, bytesRead));
    } finally {
      await handle.close();
    }
  }
}

/** Writes all of `bytes` at `position`; `path` is for the sentence when the disk is full. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number, path: string): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const left = bytes.length - done;
    const { bytesWritten } = await handle.write(bytes, done, left, position + done).catch((error: unknown) => {
      throw cannotWrite(path, error);
    });
    done += bytesWritten;
  }
}

/** Hexadecimal SHA-256 of a file. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  return hash.digest('hex');
}

function isPartState(value: unknown): value is PartState {
  if (typeof value !== 'object' || value === null || !('url' in value) || typeof value.url !== 'string') return false;
  const optional = (name: string, type: string) => !(name in value) || typeof Reflect.get(value, name) === type;
  return optional('etag', 'string') && optional('lastModified', 'string') && optional('total', 'number');
}
