// Downloads of large files: resumed, checked, and at their place only when whole. And PyTorch's cache of checkpoints.
import { mkdir, rename, stat, statfs } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import { cannotWrite, syncFolder } from '../disk/atomic-file.js';
import { withLock } from '../disk/lock-file.js';
import { codeOf, messageOf, UserError } from '../errors.js';
import {
  connectionFailure,
  get,
  type HttpAnswer,
  makeDispatcher,
  parseUrl,
  shownUrl,
  TransientError,
  UnreachableError,
} from './http.js';
import { PartFile, sha256OfFile, writeAll } from './part-file.js';

export interface DownloadOptions {
  /** Hexadecimal SHA-256 that the file must have, or its first digits (8 at least, as PyTorch puts into file names). */
  sha256?: string;
  /** Bytes there so far, earlier attempts included, and the whole size where the server tells it. */
  onProgress?: (received: number, total: number | undefined) => void;
  /** Called once when another process is downloading the same file and is waited for. */
  onWait?: (pid: number) => void;
  signal?: AbortSignal;
  /** Fail with a sentence instead of using the network. */
  offline?: boolean;
  /** Accept a web page (otherwise it is taken for the error message that it is). */
  allowHtml?: boolean;
  /** Attempts in a row that may fail without one new byte. */
  retries?: number;
  /** Pause before the first retry, doubled each time up to 30 s. */
  backoffMs?: number;
  /** A connection that gives no byte for this long is dropped. */
  idleMs?: number;
  /** Replaces the connections made from the proxy variables of the environment. */
  dispatcher?: Dispatcher;
}

/**
 * Downloads `url` to `destination`, which appears only when it is whole: its length and digest checked, synced to disk. A
 * file that is there already is taken as it is (its digest compared when given). What was received is kept in
 * `destination.part` and continued by the next attempt or run, if the server still has the same file. Two processes that
 * want the same file wait for one another. Throws a UserError naming the URL, without credentials, and what to do.
 */
export async function download(url: string, destination: string, options: DownloadOptions = {}): Promise<void> {
  const address = parseUrl(url);
  checkDigestOption(options.sha256);
  if (await isThere(destination)) return checkExisting(destination, options.sha256);
  if (options.offline === true) {
    throw new UserError(
      `${destination} is absent and may not be downloaded offline: fetch ${shownUrl(address)} elsewhere and put it there`,
    );
  }
  await mkdir(dirname(destination), { recursive: true }).catch((error: unknown) => {
    throw cannotWrite(destination, error);
  });
  const stopped = stopOn(options.signal, address);
  const work = withLock(`${destination}.lock`, options.onWait ?? (() => undefined), async () => {
    if (await isThere(destination)) return checkExisting(destination, options.sha256);
    await new Download(address, destination, options).run();
  });
  try {
    // Waiting for the lock does not look at the signal; the work itself does, and ends soon after.
    await Promise.race([work, stopped.promise]);
  } catch (error) {
    if (options.signal?.aborted === true) {
      await Promise.race([work.catch(() => undefined), sleep(1000, undefined, { ref: false })]);
      throw stopped.error();
    }
    throw error;
  } finally {
    stopped.release();
  }
}

class Download {
  readonly #part: PartFile;
  /** The most bytes that ever were in the partial file: an attempt that does not raise it has brought nothing. */
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
    const retries = this.options.retries ?? 5;
    let pause = this.options.backoffMs ?? 500;
    this.#highest = await this.#part.received();
    for (let failures = 0; ; ) {
      const before = this.#highest;
      try {
        return await this.#attempt(dispatcher);
      } catch (error) {
        this.options.signal?.throwIfAborted();
        const progressed = this.#highest > before;
        // Unreachable after it was reached: the server restarts, the network changes over.
        const transient = error instanceof TransientError || (this.#highest > 0 && error instanceof UnreachableError);
        if (!transient) throw error;
        failures = progressed ? 1 : failures + 1;
        if (progressed) pause = this.options.backoffMs ?? 500;
        if (failures > retries) {
          throw new UserError(
            `${shownUrl(this.url)} could not be downloaded, ${failures} attempts in a row failed (${messageOf(error)}): ` +
              `try again later, ${this.#highest} bytes are kept in ${this.#part.path} and need not come again`,
            { cause: error },
          );
        }
        const wait = (error instanceof TransientError ? error.waitMs : undefined) ?? pause;
        await sleep(wait, undefined, this.options.signal === undefined ? {} : { signal: this.options.signal });
        pause = Math.min(pause * 2, 30_000);
      }
    }
  }

  /** One request. Returns when the partial file is whole; throws otherwise, leaving what can be continued. */
  async #attempt(dispatcher: Dispatcher): Promise<void> {
    const state = await this.#part.state(shownUrl(this.url));
    const received = state === undefined ? 0 : await this.#part.received();
    if (state?.total !== undefined && received === state.total) return;
    const validator = state === undefined ? undefined : (strong(state.etag) ?? state.lastModified);
    const resume = received > 0 && validator !== undefined && received < (state?.total ?? Number.POSITIVE_INFINITY);
    const headers: Record<string, string> = resume ? { range: `bytes=${received}-`, 'if-range': validator } : {};
    const answer = await get(this.url, { dispatcher, headers, signal: this.options.signal });
    if (answer.status === 200) return this.#receive(answer, 0, lengthOf(answer));
    const range = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(answer.header('content-range') ?? '');
    const total = range?.[2] === undefined || range[2] === '*' ? state?.total : Number(range[2]);
    const same = total === (state?.total ?? total) && (answer.header('etag') ?? state?.etag) === state?.etag;
    if (resume && same && answer.status === 206 && Number(range?.[1]) === received) {
      return this.#receive(answer, received, total);
    }
    await answer.body.dump().catch(() => undefined);
    if (resume && same && answer.status === 416 && range?.[1] === undefined && total === received) return;
    await this.#part.discard();
    throw new TransientError(`the server answered ${answer.status} with another part of the file than was asked for`);
  }

  async #receive(answer: HttpAnswer, from: number, total: number | undefined): Promise<void> {
    await this.#refuseUnusable(answer, total);
    await this.#demandSpace(total === undefined ? 0 : total - from);
    if (from === 0) await this.#part.begin(shownUrl(this.url), answer, total);
    const handle = await this.#part.open();
    let received = from;
    try {
      this.options.onProgress?.(received, total);
      for await (const chunk of chunksOf(answer, this.url)) {
        if (total !== undefined && received + chunk.length > total) {
          await this.#part.discard();
          throw new TransientError(`the server sent more than the ${total} bytes that it announced`);
        }
        await writeAll(handle, chunk, received, this.#part.path);
        received += chunk.length;
        this.#highest = Math.max(this.#highest, received);
        this.options.onProgress?.(received, total);
      }
      if (total !== undefined && received < total) {
        throw new TransientError(`the connection ended after ${received} of ${total} bytes`);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  async #refuseUnusable(answer: HttpAnswer, total: number | undefined): Promise<void> {
    const type = answer.header('content-type') ?? '';
    const html = this.options.allowHtml !== true && /^(?:text\/html|application\/xhtml)/i.test(type);
    const encoding = answer.header('content-encoding') ?? 'identity';
    if (!html && encoding === 'identity' && (total === undefined || Number.isSafeInteger(total))) return;
    await answer.body.dump().catch(() => undefined);
    if (html) throw this.#isHtml();
    throw new UserError(
      `${shownUrl(this.url)} comes ${encoding === 'identity' ? 'with a senseless length' : `encoded as ${encoding}`}: ` +
        `fetch it by hand and put it at ${this.destination}`,
    );
  }

  #isHtml(): UserError {
    return new UserError(
      `${shownUrl(this.url)} gives a web page, not the file (a login or error page?): open it in a browser, and put the ` +
        `file at ${this.destination}`,
    );
  }

  /** Digest and content are checked before the file gets its name. */
  async #finish(): Promise<void> {
    if (this.options.allowHtml !== true && (await this.#part.looksLikeHtml())) {
      await this.#part.discard();
      throw this.#isHtml();
    }
    const expected = this.options.sha256?.toLowerCase();
    const digest = expected === undefined ? undefined : await sha256OfFile(this.#part.path);
    if (expected !== undefined && digest?.startsWith(expected) !== true) {
      await this.#part.discard();
      throw new UserError(
        `${shownUrl(this.url)} gave a file whose SHA-256 is ${digest}, not ${expected}: it was deleted; try again, or ` +
          'correct the digest',
      );
    }
    await rename(this.#part.path, this.destination).catch(async (error: unknown) => {
      // Somebody else's process put the same file there first.
      if (codeOf(error) !== 'ENOENT' || !(await isThere(this.destination))) throw cannotWrite(this.destination, error);
    });
    await this.#part.forget();
    await syncFolder(dirname(this.destination));
  }

  async #demandSpace(bytes: number): Promise<void> {
    const folder = dirname(this.destination);
    const free = await statfs(folder).then(
      ({ bavail, bsize }) => bavail * bsize,
      () => Number.POSITIVE_INFINITY,
    );
    if (bytes <= free) return;
    throw new UserError(
      `${shownUrl(this.url)} needs ${bytes} bytes in ${folder}, where ${free} are free: free some space, or set TORCH_HOME ` +
        'to a folder on another disk if it is a checkpoint',
    );
  }
}

/** Where PyTorch (and timm, for the reference) caches what is at `url`: the same file serves both programs. */
export function hubCheckpointPath(url: string, env: NodeJS.ProcessEnv = process.env): string {
  const name = parseUrl(url).pathname.split('/').at(-1) ?? '';
  if (name === '') throw new UserError(`${shownUrl(url)} names no file: give the address of the checkpoint itself`);
  const home = env.TORCH_HOME ?? join(env.XDG_CACHE_HOME ?? '~/.cache', 'torch');
  return join(home.replace(/^~(?=\/|$)/, env.HOME ?? homedir()), 'hub', 'checkpoints', name);
}

/**
 * The local path of a checkpoint that is named by path or URL; a URL is downloaded into PyTorch's cache unless it is there.
 * As PyTorch does, digits like those in `name-5c106cde.pth` are taken for the begin of its SHA-256.
 */
export async function fetchPretrained(urlOrPath: string, options: DownloadOptions = {}): Promise<string> {
  if (/^https?:\/\//i.test(urlOrPath)) {
    const path = hubCheckpointPath(urlOrPath);
    const digits = /-([0-9a-f]{8,64})\./.exec(path.split('/').at(-1) ?? '')?.[1];
    const sha256 = options.sha256 ?? digits;
    await download(urlOrPath, path, sha256 === undefined ? options : { ...options, sha256 });
    return path;
  }
  if (!(await isThere(urlOrPath))) {
    throw new UserError(`The checkpoint ${urlOrPath} does not exist: give the path of a file, or a URL`);
  }
  checkDigestOption(options.sha256);
  await checkExisting(urlOrPath, options.sha256);
  return urlOrPath;
}

async function checkExisting(path: string, expected: string | undefined): Promise<void> {
  if (expected === undefined) return;
  const digest = await sha256OfFile(path);
  if (!digest.startsWith(expected.toLowerCase())) {
    throw new UserError(`${path} has the SHA-256 ${digest}, not ${expected}: delete it, or correct the digest`);
  }
}

function checkDigestOption(digest: string | undefined): void {
  if (digest !== undefined && !/^[0-9a-f]{8,64}$/i.test(digest)) {
    throw new UserError(`sha256 is ${JSON.stringify(digest)}: give 64 hexadecimal digits, or the first 8 or more`, {
      exitCode: 2,
    });
  }
}

async function isThere(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() === true) throw new UserError(`${path} is a folder where a file is meant: name the file`);
  return found !== undefined;
}

/** The body, its failures sorted as those of the request are. */
async function* chunksOf(answer: HttpAnswer, url: URL): AsyncGenerator<Buffer> {
  try {
    yield* answer.body;
  } catch (error) {
    throw connectionFailure(url, error);
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

function stopOn(signal: AbortSignal | undefined, url: URL) {
  const error = () => new UserError(`The download of ${shownUrl(url)} was stopped: run again to continue it`);
  let stop: () => void = () => undefined;
  const promise = new Promise<never>((_, reject) => {
    stop = () => reject(error());
    if (signal?.aborted === true) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
  // Looked at only through the race; a rejection after its end is no fault.
  promise.catch(() => undefined);
  return { promise, error, release: () => signal?.removeEventListener('abort', stop) };
}
