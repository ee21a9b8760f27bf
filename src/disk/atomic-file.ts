// Files that are complete or absent: written under another name, synced, renamed.
import { type FileHandle, open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { UserError } from '../errors.js';
import { cannotWrite } from './cannot-write.js';
import { removeStale, temporaryBeside } from './stale-files.js';

const BUFFER = 1024 * 1024;

/** A file that is written from start to end. */
export interface AtomicFile {
  /** Bytes written so far. */
  readonly position: number;
  write(bytes: Uint8Array): Promise<void>;
}

/**
 * Writes `path` so that no reader, crash or full disk ever leaves or sees half a file: `writer` fills a temporary file in
 * the same folder, which is synced to disk and renamed over `path`; then the folder is synced. A symbolic link stays one:
 * what it points to is replaced. When anything fails, the temporary file is removed and `path` is as it was. The
 * temporary file of a writer that was killed is removed by the next writer, before that one needs the room.
 * Returns what `writer` returns. Throws a UserError for what the file system refuses (folder absent, no permission, disk
 * full); what `writer` throws passes through.
 */
export async function writeFileAtomically<T>(path: string, writer: (file: AtomicFile) => Promise<T>): Promise<T> {
  const target = await realpath(path).catch(() => path);
  if ((await stat(target).catch(() => undefined))?.isDirectory() === true) {
    throw new UserError(`${path} cannot be written: it is a folder. Name a file.`);
  }
  await removeStale(target);
  const temporary = temporaryBeside(target);
  const handle = await open(temporary, 'wx').catch((error: unknown) => {
    throw cannotWrite(path, error);
  });
  try {
    const file = new BufferedFile(path, handle);
    const result = await writer(file);
    await file.flush();
    await onDisk(path, () => handle.sync());
    await onDisk(path, () => handle.close());
    await onDisk(path, () => rename(temporary, target));
    await syncFolder(dirname(target));
    return result;
  } catch (error) {
    await handle.close().catch(() => undefined);
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}

/** Makes a rename in `folder` last through a power cut. File systems that cannot sync a folder are left alone. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

async function onDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/**
 * Writes all of `bytes` at `position`, by default where the last write ended.
 * @param path names the file in the UserError when that fails
 */
export async function writeAll(path: string, handle: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    // Linux writes at most 2 GiB a call.
    const length = Math.min(bytes.length - done, 1 << 30);
    const where = position === undefined ? null : position + done;
    done += (await onDisk(path, () => handle.write(bytes, done, length, where))).bytesWritten;
  }
}

/** Gathers small writes; large ones go straight to the file. */
class BufferedFile implements AtomicFile {
  position = 0;
  readonly #buffer = Buffer.allocUnsafe(BUFFER);
  #held = 0;

  constructor(
    readonly path: string,
    readonly handle: FileHandle,
  ) {}

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#held + bytes.length > BUFFER) await this.flush();
    if (bytes.length >= BUFFER) {
      await writeAll(this.path, this.handle, bytes);
    } else {
      this.#buffer.set(bytes, this.#held);
      this.#held += bytes.length;
    }
    this.position += bytes.length;
  }

  async flush(): Promise<void> {
    await writeAll(this.path, this.handle, this.#buffer.subarray(0, this.#held));
    this.#held = 0;
  }
}
