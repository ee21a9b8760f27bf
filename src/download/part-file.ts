// The unfinished file of a download, and the note beside it that tells which file it is part of.
import { type FileHandle, open, rm, stat, writeFile } from 'node:fs/promises';
import { cannotWrite } from '../disk/cannot-write.js';
import { readJson } from '../disk/json-file.js';
import { schema, type ValueOf } from '../disk/schema.js';
import type { HttpAnswer } from './http.js';

/** What a later attempt needs to ask for the rest of the same file. */
const PartState = schema((z) =>
  z.object({
    url: z.string(),
    etag: z.string().optional(),
    lastModified: z.string().optional(),
    total: z.number().optional(),
  }),
);
export type PartState = ValueOf<typeof PartState>;

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
  state(url: string): PartState | undefined {
    const state = readJson(this.#statePath, PartState);
    return state?.url === url ? state : undefined;
  }

  /** Starts from nothing, with a new file rather than an emptied one: whoever has the old one open keeps its content. */
  async start(url: string, answer: HttpAnswer, total: number | undefined): Promise<void> {
    await this.discard();
    const state: PartState = {
      url,
      etag: answer.header('etag'),
      lastModified: answer.header('last-modified'),
      total,
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

  /** Removes the note: the file has got its own name. */
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
