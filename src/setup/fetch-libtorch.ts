// Fetches LibTorch into the user cache: announced, resumable, digest-checked, and there either wholly or not at all.

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fetch } from 'undici';
import { isAlive, withLock } from '../disk/lock-file.js';
import { download } from '../download/download.js';
import { makeDispatcher, parseUrl, shownUrl } from '../download/http.js';
import { messageOf, UserError } from '../errors.js';
import { bytesBelow, cacheFolder, formatBytes } from '../libtorch/cache.js';
import type { Variant } from '../libtorch/driver.js';
import { inspectLibtorch, targetVersion } from '../libtorch/search.js';
import { unpack, unpackedSize } from './unpack.js';
import { cpuWheels, cudaWheels, fetchWheel, findPip, finishedWheel, sha256Of, type Wheel } from './wheels.js';

export interface FetchOptions {
  variant: Variant;
  env?: NodeJS.ProcessEnv;
  /** Digest that the zip must have (hexadecimal SHA-256); pip's wheels have theirs pinned. */
  sha256?: string | undefined;
  /** Takes one line for the user. */
  say: (line: string) => void;
  signal?: AbortSignal | undefined;
  /** Wheels to take with pip in place of the pinned ones. */
  wheels?: Wheel[];
}

/** An archive on disk, and which of its entries are wanted. */
interface Part {
  archive: string;
  keep: (name: string) => boolean;
}

const officialBase = 'https://download.pytorch.org/libtorch';
const headTimeoutMs = 5_000;

/** Where the official zip of a variant lies; `BLIP_LIBTORCH_URL` replaces the part before `/cpu/…`. */
export function zipUrl(variant: Variant, env: NodeJS.ProcessEnv = process.env): string {
  const base = (env.BLIP_LIBTORCH_URL || officialBase).replace(/\/+$/, '');
  return `${base}/${variant}/libtorch-shared-with-deps-${targetVersion}%2B${variant}.zip`;
}

const wantedOfZip = (name: string) =>
  /^libtorch\/(include\/|share\/|build-version$)/.test(name) || /^libtorch\/lib\/[^/]+\.so[^/]*$/.test(name);

/** Size of the zip in bytes (NaN if the server does not say), or a text that tells why it cannot be had. */
async function askForZip(url: string, env: NodeJS.ProcessEnv): Promise<number | string> {
  const { host } = parseUrl(url);
  const dispatcher = makeDispatcher(headTimeoutMs, env);
  try {
    const answer = await fetch(url, { method: 'HEAD', signal: AbortSignal.timeout(headTimeoutMs), dispatcher });
    if (!answer.ok) return `${host} answered ${answer.status}`;
    return Number(answer.headers.get('content-length') ?? Number.NaN);
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
    return `${host} cannot be reached: ${cause}`;
  } finally {
    await dispatcher.destroy();
  }
}

function demandSpace(folder: string, bytes: number, what: string): void {
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize >= bytes) return;
  const free = formatBytes(bavail * bsize);
  throw new UserError(
    `${what} needs ${formatBytes(bytes)} in ${folder}, where ${free} are free: free some or set BLIP_CACHE to a folder on another disk.`,
  );
}

/** Digests of zips seen before, by URL: the first download decides, later ones must be equal. */
function readDigests(path: string): Record<string, string> {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof value !== 'object' || value === null) return {};
    return Object.fromEntries(Object.entries(value).filter(([, digest]) => typeof digest === 'string'));
  } catch {
    return {};
  }
}

async function zipParts(url: string, bytes: number, downloads: string, options: FetchOptions): Promise<Part[]> {
  const archive = join(downloads, decodeURIComponent(url.split('/').at(-1) ?? 'libtorch.zip'));
  const size = Number.isNaN(bytes) ? 'of unknown size' : formatBytes(bytes);
  options.say(`Downloading ${shownUrl(url)} (${size}) to ${archive}`);
  if (!Number.isNaN(bytes)) demandSpace(downloads, bytes, 'The download');
  const digests = join(downloads, 'digests.json');
  const known = readDigests(digests);
  const expected = options.sha256?.toLowerCase() ?? known[url];
  let shown = 0;
  const onProgress = (received: number, total: number | undefined) => {
    const tenth = total ? Math.floor((received / total) * 10) : 0;
    if (tenth > shown && tenth < 10) options.say(`  ${tenth * 10} % of ${formatBytes(total ?? 0)}`);
    shown = Math.max(shown, tenth);
  };
  // Whole already where unpacking failed the last time (a full disk, say).
  const whole = expected !== undefined && existsSync(archive) && (await sha256Of(archive)) === expected;
  if (!whole) {
    await download(url, archive, {
      onProgress,
      ...(expected === undefined ? {} : { sha256: expected }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  }
  if (expected === undefined) {
    const digest = await sha256Of(archive);
    writeFileSync(digests, `${JSON.stringify({ ...known, [url]: digest }, undefined, 2)}\n`);
    options.say(`SHA-256 ${digest}: recorded, since none was given (--sha256) and none is published`);
  }
  return [{ archive, keep: wantedOfZip }];
}

async function pipParts(python: string, wheels: Wheel[], downloads: string, options: FetchOptions): Promise<Part[]> {
  const present = await Promise.all(wheels.map((wheel) => finishedWheel(wheel, downloads)));
  const open = wheels.filter((_, index) => present[index] === undefined);
  const bytes = open.reduce((sum, wheel) => sum + wheel.bytes, 0);
  const kept = present.length - open.length;
  const already = kept > 0 ? `; ${kept} there already` : '';
  const files = open.length === 1 ? 'file' : 'files';
  options.say(
    `Downloading ${open.length} ${files} (${formatBytes(bytes)}) with ${python} -m pip to ${downloads}${already}`,
  );
  demandSpace(downloads, bytes, 'The download');
  const parts: Part[] = [];
  for (const [index, wheel] of wheels.entries()) {
    if (present[index] === undefined) options.say(`  ${wheel.requirement} (${formatBytes(wheel.bytes)})`);
    const archive = await fetchWheel(wheel, downloads, {
      python,
      signal: options.signal,
      ...(options.env ? { env: options.env } : {}),
    });
    parts.push({ archive, keep: wheel.keep });
  }
  return parts;
}

async function fetchParts(downloads: string, options: FetchOptions): Promise<Part[]> {
  const env = options.env ?? process.env;
  const { variant } = options;
  const choice = env.BLIP_LIBTORCH_SOURCE || undefined;
  if (choice !== undefined && choice !== 'zip' && choice !== 'pip') {
    throw new UserError(`BLIP_LIBTORCH_SOURCE is ${choice}: set it to zip or pip, or leave it unset.`, { exitCode: 2 });
  }
  const x64 = process.arch === 'x64';
  let why = 'BLIP_LIBTORCH_SOURCE=pip';
  if (choice !== 'pip') {
    const url = zipUrl(variant, env);
    const answer = x64 || env.BLIP_LIBTORCH_URL ? await askForZip(url, env) : `there is no zip for ${process.arch}`;
    if (typeof answer === 'number') return zipParts(url, answer, downloads, options);
    if (choice === 'zip') {
      throw new UserError(
        `LibTorch cannot be downloaded: ${answer}; check the connection, or unset BLIP_LIBTORCH_SOURCE to try pip.`,
      );
    }
    why = answer;
    options.say(`The official zip cannot be had (${answer}); taking pip's wheels.`);
  }
  const elsewise = 'install PyTorch for your Python, or set LIBTORCH to a LibTorch folder, then run setup again';
  if (variant === 'cu126') {
    throw new UserError(
      `${why}, and pip has this LibTorch for CUDA 13 only, which asks for NVIDIA driver 580 or newer: update the driver, take the CPU build with --cpu, or ${elsewise}.`,
    );
  }
  if (!x64 && options.wheels === undefined) {
    throw new UserError(`No LibTorch for ${process.arch} is known here: ${elsewise}.`);
  }
  if (options.sha256 !== undefined) {
    throw new UserError(
      `--sha256 is for the zip, which cannot be had (${why}): leave it out to take pip's wheels, whose digests are pinned.`,
      { exitCode: 2 },
    );
  }
  const python = await findPip(env);
  if (python === undefined) {
    throw new UserError(
      `LibTorch cannot be downloaded: ${why}, and no pip was found on PATH: install pip (python3-pip), or ${elsewise}.`,
    );
  }
  return pipParts(python, options.wheels ?? (variant === 'cpu' ? cpuWheels : cudaWheels), downloads, options);
}

/** Removes what killed processes of this host left half unpacked. */
function sweep(cache: string): void {
  for (const name of readdirSync(cache)) {
    const pid = /^\.unpacking-(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(cache, name), { recursive: true, force: true });
  }
}

function syncFolder(folder: string): void {
  // One call for the whole file system: ten thousand headers, each with its own fsync, take minutes.
  spawnSync('sync', ['-f', folder], { stdio: 'ignore' });
  const fd = openSync(folder, 'r');
  fsyncSync(fd);
  closeSync(fd);
}

async function install(target: string, cache: string, downloads: string, options: FetchOptions): Promise<string> {
  sweep(cache);
  mkdirSync(downloads, { recursive: true });
  const parts = await fetchParts(downloads, options);
  let size = 0;
  for (const { archive, keep } of parts) size += await unpackedSize(archive, keep);
  demandSpace(cache, size, 'Unpacking');
  options.say(`Unpacking ${formatBytes(size)} to ${target}`);
  const aside = join(cache, `.unpacking-${process.pid}`);
  rmSync(aside, { recursive: true, force: true });
  try {
    mkdirSync(aside);
    for (const { archive, keep } of parts) await unpack(archive, aside, keep, options.signal);
    const inner = existsSync(join(aside, 'libtorch')) ? 'libtorch' : 'torch';
    const result = inspectLibtorch(join(aside, inner), 'cache', options.env ?? process.env);
    if (typeof result === 'string') {
      throw new UserError(
        `What was downloaded is no usable LibTorch (${result}): remove ${downloads} and run setup again.`,
      );
    }
    syncFolder(aside);
    // A folder that is there by now is broken (it was looked at before), or another process's equal work.
    rmSync(target, { recursive: true, force: true });
    renameSync(aside, target);
    syncFolder(cache);
    for (const { archive } of parts) rmSync(archive, { force: true });
    return join(target, inner);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/**
 * Puts LibTorch of a variant into the user cache, unless a whole one is there, and returns its root folder. A second
 * process that wants the same waits for the first.
 * @throws UserError when nothing can be reached, a digest differs, or the disk is full
 */
export async function fetchLibtorch(options: FetchOptions): Promise<string> {
  const env = options.env ?? process.env;
  const cache = cacheFolder(env);
  const name = `libtorch-${targetVersion}-${options.variant}`;
  const target = join(cache, name);
  const wait = (pid: number) => options.say(`Another setup (process ${pid}) is fetching LibTorch: waiting for it`);
  return withLock(join(cache, `${name}.lock`), wait, async () => {
    for (const inner of ['torch', 'libtorch']) {
      const root = join(target, inner);
      if (typeof inspectLibtorch(root, 'cache', env) !== 'string') return root;
    }
    const root = await install(target, cache, join(cache, 'downloads'), options);
    options.say(`LibTorch is in ${root} (${formatBytes(bytesBelow(target))})`);
    return root;
  });
}
