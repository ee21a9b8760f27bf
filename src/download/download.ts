// Downloads of large files: resumed, checked, and under their own name only when complete.
import { rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { syncFolder, writeAll } from '../disk/atomic-file.js';
import { cannotWrite } from '../disk/cannot-write.js';
import { lookAt, makeFolder } from '../disk/folder.js';
import { withLock } from '../disk/lock-file.js';
import { sha256OfFile } from '../disk/sha256.js';
import { demandSpace } from '../disk/space.js';
import { codeOf, messageOf, UserError } from '../errors.js';
import { counted } from '../logging/text.js';
import { TransientError, UnreachableError } from './failures.js';
import { type Dispatcher, get, type HttpAnswer, makeDispatcher } from './http.js';
import { PartFile } from './part-file.js';
import { rememberSource, sourceOf, sourceText } from './source-note.js';
import { parseUrl, shownUrl } from './url.js';

const MAX_BACKOFF_MS = 30_000;

export interface DownloadOptions {
  /** Hexadecimal SHA-256 that the file must have, or its first digits (8 at least, as PyTorch puts into file names). */
  sha256?: string | undefined;
  /** Bytes received so far, earlier attempts included, and the size of the file where the server tells it. */
  onProgress?: ((received: number, total: number | undefined) => void) | undefined;
  /** Says what is wrong with the file that has come, "with …, not …"; undefined where nothing is. */
  check?: ((path: string) => Promise<string | undefined>) | undefined;
  /** Called once when another process is downloading the same file: this one waits for it. */
  onWait?: (pid: number) => void;
  signal?: AbortSignal | undefined;
  /** Fail with a sentence instead of using the network. */
  offline?: boolean;
  /** Accept a web page, which otherwise is taken for an error message. */
  allowHtml?: boolean;
  /** Attempts in a row that may fail without a new byte. */
  retries?: number;
  /** Pause before the first retry, doubled each time up to 30 s. */
  backoffMs?: number;
  /** A connection that gives no byte for this long is dropped. */
  idleMs?: number;
  /**
   * Note beside the file where it is from. A file that is there from another address, and is not known by its digest, is
   * then another file: download throws an OtherSource.
   */
  noteSource?: boolean;
  /** The header of that name. It goes to no host but that of the URL. */
  authorization?: string | undefined;
  /** The lock file; `destination.lock` by default. */
  lock?: string;
  /** What else to do where the disk has too little room. */
  elsewhere?: string;
  /** Replaces the connections made from the proxy variables of the environment. */
  dispatcher?: Dispatcher;
}

/** The file's name is taken by one from another address. */
export class OtherSource extends Error {
  constructor(readonly source: string) {
    super(`from ${source}`);
  }
}

/**
 * Downloads `url` to `destination`, which appears only when it is complete: its length and digest checked, synced to disk.
 * A file that is there already is taken as it is (its digest compared when given). What was received is kept in
 * `destination.part` and continued by the next attempt or run, if the server still has the same file. Two processes that
 * want the same file wait for one another. Throws a UserError naming the URL, without credentials, and what to do.
 */
export async function download(url: string, destination: string, options: DownloadOptions = {}): Promise<void> {
  const address = parseUrl(url);
  const { onWait, signal, lock = `${destination}.lock` } = options;
  if (await isThere(address, destination, options)) return;
  if (options.offline === true) {
    throw new UserError(
      `${destination} is absent and cannot be downloaded offline. Fetch ${shownUrl(address)} elsewhere and put it there.`,
    );
  }
  makeFolder(dirname(destination));
  try {
    await withLock(lock, { onWait, signal }, async () => {
      if (!(await isThere(address, destination, options))) await new Download(address, destination, options).run();
    });
  } catch (error) {
    if (signal?.aborted !== true) throw error;
    throw new UserError(`The download of ${shownUrl(address)} was stopped. Run again to continue it.`);
  }
}

/**
 * Whether the file `path` is there.
 * @throws UserError where `sha256` is no digest, the file has another one, or `path` is a folder
 */
export async function isDownloaded(path: string, sha256: string | undefined): Promise<boolean> {
  if (sha256 !== undefined && !/^[0-9a-f]{8,64}$/i.test(sha256)) {
    const shown = JSON.stringify(sha256);
    throw new UserError(`sha256 is ${shown}. Give 64 hexadecimal digits, or the first 8 or more.`, { exitCode: 2 });
  }
  const found = lookAt(path);
  if (found?.isDirectory() === true) throw new UserError(`${path} is a folder. Name a file.`);
  if (found === undefined || sha256 === undefined) return found !== undefined;
  const digest = await sha256OfFile(path);
  if (digest.startsWith(sha256.toLowerCase())) return true;
  throw new UserError(`${path} has the SHA-256 ${digest}, not ${sha256}. Delete the file, or correct the digest.`);
}

/** As isDownloaded, and throws an OtherSource where the file is known to be from another address. */
async function isThere(url: URL, destination: string, { sha256, noteSource }: DownloadOptions): Promise<boolean> {
  const source = noteSource === true ? await sourceOf(destination) : undefined;
  const isOther = source !== undefined && source !== sourceText(url);
  if (isOther && sha256 === undefined) throw new OtherSource(source);
  let found: boolean;
  try {
    found = await isDownloaded(destination, sha256);
  } catch (error) {
    throw isOther ? new OtherSource(source) : error;
  }
  // Known by its digest, whoever put it there. The cache may be another user's, and read-only.
  if (found && noteSource === true && source === undefined && sha256 !== undefined)
    await rememberSource(destination, url, (await stat(destination)).size).catch(() => undefined);
  return found;
}

class Download {
  readonly #part: PartFile;
  /** The most bytes that the partial file ever had: an attempt that does not raise it has brought nothing. */
  #highest = 0;

  constructor(
    readonly url: URL,
    readonly destination: string,
    readonly options: DownloadOptions,
  ) {
    this.#part = new PartFile(destination);
  }

  async run(): Promise<void> {
    const dispatcher = this.options.dispatcher ?? makeDispatcher(this.options.idleMs ?? 60_000);
    try {
      await this.#attempts(dispatcher);
    } finally {
      if (this.options.dispatcher === undefined) await dispatcher.destroy();
    }
    await this.#finish();
  }

  async #attempts(dispatcher: Dispatcher): Promise<void> {
    const { retries = 5, backoffMs = 500, signal } = this.options;
    let pause = backoffMs;
    this.#highest = await this.#part.received();
    for (let failures = 0; ; ) {
      const before = this.#highest;
      try {
        return await this.#attempt(dispatcher);
      } catch (error) {
        signal?.throwIfAborted();
        const progressed = this.#highest > before;
        // Unreachable after it was reached: the server restarts, the network changes.
        const transient = error instanceof TransientError || (this.#highest > 0 && error instanceof UnreachableError);
        if (!transient) throw error;
        failures = progressed ? 1 : failures + 1;
        if (progressed) pause = backoffMs;
        if (failures > retries) {
          throw new UserError(
            `${shownUrl(this.url)} could not be downloaded: ${failures === 1 ? 'the attempt' : `${failures} attempts in a row`} failed (${messageOf(error)}). ` +
              `Try again later: the ${counted(this.#highest, 'byte')} kept in ${this.#part.path} will not be downloaded again.`,
            { cause: error },
          );
        }
        const wait = (error instanceof TransientError ? error.waitMs : undefined) ?? pause;
        await sleep(wait, undefined, { signal });
        pause = Math.min(pause * 2, MAX_BACKOFF_MS);
      }
    }
  }

  /** One request. Returns when the partial file is complete; throws otherwise, leaving what can be continued. */
  async #attempt(dispatcher: Dispatcher): Promise<void> {
    const state = this.#part.state(shownUrl(this.url));
    const received = state === undefined ? 0 : await this.#part.received();
    if (received === state?.total) return;
    const validator = state === undefined ? undefined : (strong(state.etag) ?? state.lastModified);
    const resume = received > 0 && validator !== undefined && received < (state?.total ?? Number.POSITIVE_INFINITY);
    const headers: Record<string, string> = resume ? { range: `bytes=${received}-`, 'if-range': validator } : {};
    const { authorization, signal } = this.options;
    const answer = await get(this.url, { dispatcher, headers, authorization, signal });
    if (answer.status === 200) return this.#receive(answer, 0, lengthOf(answer));
    const range = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(answer.header('content-range') ?? '');
    const total = range?.[2] === undefined || range[2] === '*' ? state?.total : Number(range[2]);
    const same = total === (state?.total ?? total) && (answer.header('etag') ?? state?.etag) === state?.etag;
    if (resume && same && answer.status === 206 && Number(range?.[1]) === received) {
      return this.#receive(answer, received, total);
    }
    answer.discard();
    if (resume && same && answer.status === 416 && range?.[1] === undefined && total === received) return;
    await this.#part.discard();
    throw new TransientError(
      `the server answered ${answer.status} with another part of the file than the one requested`,
    );
  }

  async #receive(answer: HttpAnswer, from: number, total: number | undefined): Promise<void> {
    this.#refuseUnusable(answer, total);
    if (total !== undefined) {
      const { elsewhere = 'set TORCH_HOME to a folder on another disk if it is a checkpoint' } = this.options;
      demandSpace(dirname(this.destination), total - from, shownUrl(this.url), `Free some space, or ${elsewhere}.`);
    }
    if (from === 0) await this.#part.start(shownUrl(this.url), answer, total);
    const handle = await this.#part.open();
    let received = from;
    try {
      this.options.onProgress?.(received, total);
      for await (const chunk of answer.body) {
        if (total !== undefined && received + chunk.length > total) {
          await this.#part.discard();
          throw new TransientError(`the server sent more than the announced ${counted(total, 'byte')}`);
        }
        await writeAll(this.#part.path, handle, chunk, received);
        received += chunk.length;
        this.#highest = Math.max(this.#highest, received);
        this.options.onProgress?.(received, total);
      }
      if (total !== undefined && received < total) {
        throw new TransientError(`the connection ended after ${received} of ${counted(total, 'byte')}`);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  #refuseUnusable(answer: HttpAnswer, total: number | undefined): void {
    const type = answer.header('content-type') ?? '';
    const html = this.options.allowHtml !== true && /^(?:text\/html|application\/xhtml)/i.test(type);
    const encoding = answer.header('content-encoding') ?? 'identity';
    if (!html && encoding === 'identity' && (total === undefined || Number.isSafeInteger(total))) return;
    answer.discard();
    if (html) throw this.#isHtml();
    const defect = encoding === 'identity' ? 'declares an impossible Content-Length' : `is encoded as ${encoding}`;
    throw new UserError(`${shownUrl(this.url)} ${defect}. Download it by hand and put it at ${this.destination}.`);
  }

  #isHtml(): UserError {
    return new UserError(
      `${shownUrl(this.url)} gives a web page, not the file (a login or error page?). Open it in a browser, and put the ` +
        `file at ${this.destination}.`,
    );
  }

  async #digestDefect(): Promise<string | undefined> {
    const { sha256, check } = this.options;
    if (sha256 === undefined) return check?.(this.#part.path);
    const digest = await sha256OfFile(this.#part.path);
    return digest.startsWith(sha256.toLowerCase()) ? undefined : `with the SHA-256 ${digest}, not ${sha256}`;
  }

  /** Content and digest are checked before the file gets its name. */
  async #finish(): Promise<void> {
    if (this.options.allowHtml !== true && (await this.#part.looksLikeHtml())) {
      await this.#part.discard();
      throw this.#isHtml();
    }
    const { sha256 } = this.options;
    const defect = await this.#digestDefect();
    if (defect !== undefined) {
      await this.#part.discard();
      const remedy = 'It was deleted: try again, and check the digest if you gave one.';
      throw new UserError(`${shownUrl(this.url)} gave a file ${defect}. ${remedy}`);
    }
    // First the note: a file without one could be from anywhere.
    if (this.options.noteSource === true) await rememberSource(this.destination, this.url, await this.#part.received());
    await rename(this.#part.path, this.destination).catch(async (error: unknown) => {
      // Somebody else's process put the same file there first.
      if (codeOf(error) !== 'ENOENT' || !(await isDownloaded(this.destination, sha256)))
        throw cannotWrite(this.destination, error);
    });
    await this.#part.forget();
    await syncFolder(dirname(this.destination));
  }
}

/** Weak ETags do not promise equal bytes. */
function strong(etag: string | undefined): string | undefined {
  return etag === undefined || etag.startsWith('W/') ? undefined : etag;
}

function lengthOf(answer: HttpAnswer): number | undefined {
  const length = answer.header('content-length');
  return length === undefined ? undefined : Number(length);
}
