// Fetches LibTorch into the user cache: announced, resumable, digest-checked, and there completely or not at all.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { syncFolder } from '../disk/atomic-file.js';
import { makeFolder } from '../disk/folder.js';
import { readJson } from '../disk/json-file.js';
import { withLock } from '../disk/lock-file.js';
import { schema } from '../disk/schema.js';
import { sha256OfFile } from '../disk/sha256.js';
import { bytesBelow, demandSpace, formatBytes } from '../disk/space.js';
import { removeStale, temporaryBeside } from '../disk/stale-files.js';
import { download } from '../download/download.js';
import { ask, makeDispatcher } from '../download/http.js';
import { tenthLines } from '../download/progress.js';
import { parseUrl, shownUrl } from '../download/url.js';
import { codeOf, messageOf, UserError } from '../errors.js';
import { madeCacheFolder } from '../libtorch/cache.js';
import type { Variant } from '../libtorch/driver.js';
import { inspectLibtorch, targetVersion } from '../libtorch/search.js';
import { counted } from '../logging/text.js';
import { unpack, unpackedSize } from './unpack.js';
import { fetchWheel, findPip, finishedWheel, pinnedWheels, type Wheel } from './wheels.js';

export interface FetchOptions {
  variant: Variant;
  env?: NodeJS.ProcessEnv;
  /** Expected SHA-256 of the zip, hexadecimal; pip's wheels have theirs pinned. */
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
const moreRoom = 'Free some space or set BLIP_CACHE to a folder on another disk.';

/** Digests of zips seen before, by URL: the first download decides, later ones must be equal. */
const Digests = schema((z) => z.record(z.string(), z.string()));

/** Where the official zip of a variant lies; `BLIP_LIBTORCH_URL` replaces the part before `/cpu/…`. */
export function zipUrl(variant: Variant, env: NodeJS.ProcessEnv = process.env): string {
  const base = (env.BLIP_LIBTORCH_URL || officialBase).replace(/\/+$/, '');
  return `${base}/${variant}/libtorch-shared-with-deps-${targetVersion}%2B${variant}.zip`;
}

const wantedOfZip = (name: string) =>
  /^libtorch\/(include\/|share\/|build-version$)/.test(name) || /^libtorch\/lib\/[^/]+\.so[^/]*$/.test(name);

/** Size of the zip in bytes (undefined if the server does not say), or a clause that says why it is not available. */
async function askForZip(url: string, env: NodeJS.ProcessEnv): Promise<{ bytes: number | undefined } | string> {
  const { host } = parseUrl(url);
  const dispatcher = makeDispatcher(headTimeoutMs, env);
  try {
    const signal = AbortSignal.timeout(headTimeoutMs);
    const { answer } = await ask(parseUrl(url), { dispatcher, method: 'HEAD', signal });
    answer.discard();
    if (answer.status < 200 || answer.status > 299) return `${host} answered ${answer.status}`;
    const length = answer.header('content-length');
    return { bytes: length === undefined ? undefined : Number(length) };
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    return `${host} cannot be reached: ${messageOf(cause) || codeOf(cause)}`;
  } finally {
    await dispatcher.destroy();
  }
}

async function zipParts(
  url: string,
  bytes: number | undefined,
  downloads: string,
  options: FetchOptions,
): Promise<Part[]> {
  const { say, signal } = options;
  const archive = join(downloads, decodeURIComponent(basename(url)));
  say(`Downloading ${shownUrl(url)} (${bytes === undefined ? 'of unknown size' : formatBytes(bytes)}) to ${archive}`);
  if (bytes !== undefined) demandSpace(downloads, bytes, 'the download', moreRoom);
  const digests = join(downloads, 'digests.json');
  const known = readJson(digests, Digests) ?? {};
  const expected = options.sha256?.toLowerCase() ?? known[url];
  await download(url, archive, { onProgress: tenthLines(say), sha256: expected, signal });
  if (expected === undefined) {
    const digest = await sha256OfFile(archive);
    writeFileSync(digests, `${JSON.stringify({ ...known, [url]: digest }, undefined, 2)}\n`);
    say(`SHA-256 ${digest}: recorded, since none was given (--sha256) and none is published`);
  }
  return [{ archive, keep: wantedOfZip }];
}

async function pipParts(python: string, wheels: Wheel[], downloads: string, options: FetchOptions): Promise<Part[]> {
  const { env, say, signal } = options;
  const missing = new Set<Wheel>();
  for (const wheel of wheels) if ((await finishedWheel(wheel, downloads)) === undefined) missing.add(wheel);
  const bytes = [...missing].reduce((sum, wheel) => sum + wheel.bytes, 0);
  const files = `${counted(missing.size, 'file')} (${formatBytes(bytes)})`;
  const kept = wheels.length - missing.size;
  const already = kept > 0 ? `; ${kept} there already` : '';
  say(`Downloading ${files} with ${python} -m pip to ${downloads}${already}`);
  demandSpace(downloads, bytes, 'the download', moreRoom);
  const parts: Part[] = [];
  for (const wheel of wheels) {
    if (missing.has(wheel)) say(`  ${wheel.requirement} (${formatBytes(wheel.bytes)})`);
    parts.push({ archive: await fetchWheel(wheel, downloads, { python, env, signal }), keep: wheel.keep });
  }
  return parts;
}

async function fetchParts(downloads: string, options: FetchOptions): Promise<Part[]> {
  const { variant, env = process.env } = options;
  const choice = env.BLIP_LIBTORCH_SOURCE || undefined;
  if (choice !== undefined && choice !== 'zip' && choice !== 'pip') {
    throw new UserError(`BLIP_LIBTORCH_SOURCE is ${choice}. Set it to zip or pip, or unset it.`, { exitCode: 2 });
  }
  const x64 = process.arch === 'x64';
  let why = 'BLIP_LIBTORCH_SOURCE is pip';
  if (choice !== 'pip') {
    const url = zipUrl(variant, env);
    const answer = x64 || env.BLIP_LIBTORCH_URL ? await askForZip(url, env) : `there is no zip for ${process.arch}`;
    if (typeof answer !== 'string') return zipParts(url, answer.bytes, downloads, options);
    if (choice === 'zip') {
      throw new UserError(
        `LibTorch cannot be downloaded: ${answer}. Check the connection, or unset BLIP_LIBTORCH_SOURCE to try pip.`,
      );
    }
    why = answer;
    options.say(`The official zip is not available (${answer}). Using pip's wheels instead.`);
  }
  const elsewise = 'install PyTorch for your Python, or set LIBTORCH to a LibTorch folder, then run setup again';
  if (variant === 'cu126') {
    throw new UserError(
      `LibTorch cannot be downloaded: ${why}, and pip has it for CUDA 13 only, which needs NVIDIA driver 580 or newer. Update the driver, take the CPU build with --cpu, or ${elsewise}.`,
    );
  }
  const wheels = options.wheels ?? pinnedWheels(variant);
  if (wheels === undefined) {
    throw new UserError(`There is no known LibTorch for ${process.arch}. You can ${elsewise}.`);
  }
  if (options.sha256 !== undefined) {
    throw new UserError(
      `--sha256 is for the zip, which is not available (${why}). Omit it to take pip's wheels, whose digests are pinned.`,
      { exitCode: 2 },
    );
  }
  const python = await findPip(env);
  if (python === undefined) {
    throw new UserError(
      `LibTorch cannot be downloaded: ${why}, and no pip was found on PATH. Install pip (python3-pip), or ${elsewise}.`,
    );
  }
  return pipParts(python, wheels, downloads, options);
}

async function install(target: string, cache: string, options: FetchOptions): Promise<string> {
  const aside = temporaryBeside(join(cache, 'libtorch'));
  await removeStale(join(cache, 'libtorch')); // what killed processes left half unpacked, of any variant
  const downloads = join(cache, 'downloads');
  makeFolder(downloads);
  const parts = await fetchParts(downloads, options);
  let size = 0;
  for (const { archive, keep } of parts) size += await unpackedSize(archive, keep);
  demandSpace(cache, size, 'LibTorch', moreRoom);
  options.say(`Unpacking ${formatBytes(size)} to ${target}`);
  try {
    mkdirSync(aside);
    for (const { archive, keep } of parts) await unpack(archive, aside, keep, options.signal);
    const inner = existsSync(join(aside, 'libtorch')) ? 'libtorch' : 'torch';
    const result = inspectLibtorch(join(aside, inner), 'cache', options.env ?? process.env);
    if (typeof result === 'string') {
      throw new UserError(`The download is not a usable LibTorch: ${result}. Remove ${downloads} and run setup again.`);
    }
    // One call for the whole file system: ten thousand headers, each with its own fsync, take minutes.
    spawnSync('sync', ['-f', aside], { stdio: 'ignore' });
    // A folder that is there by now is broken (it was looked at before), or another process's equal work.
    rmSync(target, { recursive: true, force: true });
    renameSync(aside, target);
    await syncFolder(cache);
    for (const { archive } of parts) rmSync(archive, { force: true });
    return join(target, inner);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/**
 * Puts LibTorch of a variant into the user cache, unless a complete one is there, and returns its root folder. A second
 * process that wants the same waits for the first.
 * @throws UserError when nothing can be reached, a digest differs, or the disk is full
 */
export async function fetchLibtorch(options: FetchOptions): Promise<string> {
  const { say, signal, env = process.env } = options;
  const cache = madeCacheFolder(env);
  const target = join(cache, `libtorch-${targetVersion}-${options.variant}`);
  const onWait = (pid: number) => say(`Waiting for another setup (process ${pid}), which is fetching LibTorch`);
  return withLock(`${target}.lock`, { onWait, signal }, async () => {
    for (const inner of ['torch', 'libtorch']) {
      const root = join(target, inner);
      if (typeof inspectLibtorch(root, 'cache', env) !== 'string') return root;
    }
    const root = await install(target, cache, options);
    say(`LibTorch is in ${root} (${formatBytes(bytesBelow(target))})`);
    return root;
  });
}
