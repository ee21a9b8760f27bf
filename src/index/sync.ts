// Brings an index to what its folder has: encodes what is new or changed, forgets what has gone.
import { join } from 'node:path';
import { sha256OfFile } from '../disk/sha256.js';
import { UserError } from '../errors.js';
import { type BadImage, type OnBadImage, tellBad } from './bad-image.js';
import { addImages, type Wanted } from './embed-images.js';
import type { Model } from './encoder.js';
import { type FolderImage, folderImages, matcher } from './folder-images.js';
import type { EmbeddedImage, IndexStore } from './store.js';
import { Turns } from './turns.js';

/** Counts of images. */
export interface SyncReport {
  /** New ones. */
  added: number;
  /** Ones whose file has other bytes now. */
  changed: number;
  /** Ones whose file has another name now: they were not encoded again. */
  renamed: number;
  /** Ones whose file has gone. */
  removed: number;
  unchanged: number;
  /** Those that are not in the index because they cannot be read; they are tried again by every sync. */
  bad: BadImage[];
}

export interface SyncOptions {
  onBadImage: OnBadImage;
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal: AbortSignal;
}

/** What the index knows of a file. */
interface Known {
  size: number | undefined;
  modified: number | undefined;
  seen: boolean;
}

/**
 * A file of the same size and time is taken for unchanged. Of the others, those with the digest that the index has, under
 * this name or that of a file that has gone, are not encoded again.
 * @throws UserError where the folder cannot be read, or, by `onBadImage`, for a bad image; the reason of the signal
 */
export async function syncFolder(
  store: IndexStore,
  model: Model,
  window: number,
  { onBadImage, onProgress, signal }: SyncOptions,
): Promise<SyncReport> {
  const { folder, include } = store.facts;
  if (folder === undefined)
    throw new UserError(`${store.name} is not of a folder. Use add and remove instead of sync.`, { exitCode: 2 });
  await store.refresh();
  const report: SyncReport = { added: 0, changed: 0, renamed: 0, removed: 0, unchanged: 0, bad: [] };
  const known = await knownImages(store, folder, include, signal);
  const fresh: FolderImage[] = [];
  for await (const found of folderImages(folder, include, signal)) {
    const before = known.get(found.id);
    if (before !== undefined) before.seen = true;
    if ('reason' in found) {
      report.bad.push(found);
      tellBad(found, onBadImage);
    } else if (before?.size === found.size && before.modified === found.modified) report.unchanged += 1;
    else fresh.push(found);
  }
  const gone: string[] = [];
  const sizesGone = new Set<number | undefined>();
  const turns = new Turns();
  for (const [id, { size, seen }] of known) {
    if (seen) continue;
    gone.push(id);
    sizesGone.add(size);
    await turns.rest(signal);
  }
  let digests: Promise<Map<string, string>> | undefined;
  /** The name under which the index has these bytes. */
  const nameOf = async (found: FolderImage, digest: string): Promise<string | undefined> => {
    if (known.get(found.id)?.size === found.size) {
      const [image] = await store.get([found.id]);
      if (image?.digest === digest) return found.id;
    }
    if (!sizesGone.has(found.size)) return undefined;
    digests ??= digestsOf(store, gone, signal);
    return (await digests).get(digest);
  };

  let done = 0;
  const total = fresh.length;
  onProgress?.(done, total);
  const wanted = function* (): Generator<Wanted> {
    for (const found of fresh) {
      const before = known.get(found.id);
      const mayBeKnown = before?.size === found.size || sizesGone.has(found.size);
      yield {
        id: found.id,
        image: found.path,
        path: found.path,
        ...(mayBeKnown && { known: () => sameBytes(store, found, nameOf) }),
        done: (isKnown) => {
          if (before === undefined) report[isKnown ? 'renamed' : 'added'] += 1;
          else report[isKnown ? 'unchanged' : 'changed'] += 1;
        },
      };
    }
  };
  const onDone = () => {
    done += 1;
    onProgress?.(done, total);
  };
  const bad = await addImages(wanted(), { store, model, window, onBadImage, signal, onDone });
  report.bad.push(...bad);
  // A file that is bad now is no longer what the index has of it.
  const spoilt = report.bad.map(({ id }) => id).filter((id) => known.get(id) !== undefined);
  const removed = await store.remove(gone.concat(spoilt));
  report.removed = Math.max(0, removed - report.renamed);
  return report;
}

/** The images of the index that are of the folder: others were added one by one, and stay. */
async function knownImages(
  store: IndexStore,
  folder: string,
  include: readonly string[] | undefined,
  signal: AbortSignal,
): Promise<Map<string, Known>> {
  const wanted = matcher(include);
  const known = new Map<string, Known>();
  for await (const { id, path, size, modified } of store.images(signal))
    if (path === join(folder, id) && wanted(id)) known.set(id, { size, modified, seen: false });
  return known;
}

/** The ids by the digests of their images. */
async function digestsOf(store: IndexStore, ids: readonly string[], signal: AbortSignal): Promise<Map<string, string>> {
  const digests = new Map<string, string>();
  const turns = new Turns();
  for (const [i, image] of (await store.get(ids)).entries()) {
    if (image !== undefined) digests.set(image.digest, image.id);
    if (i % 64 === 0) await turns.rest(signal);
  }
  return digests;
}

/** What the index has of the bytes of `found`, under whatever name; undefined where it has not got them. */
async function sameBytes(
  store: IndexStore,
  found: FolderImage,
  nameOf: (found: FolderImage, digest: string) => Promise<string | undefined>,
): Promise<EmbeddedImage | undefined> {
  const { id, path, size, modified } = found;
  const digest = await sha256OfFile(path);
  const name = await nameOf(found, digest);
  if (name === undefined) return undefined;
  const [feature] = await store.features([name]);
  const tokens = store.facts.keepsTokens ? await store.tokens(name) : undefined;
  if (feature === undefined || (store.facts.keepsTokens && tokens === undefined)) return undefined;
  return { id, path, size, modified, digest, feature, tokens };
}
