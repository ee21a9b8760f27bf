// An index in a folder: a manifest, segments, tombstones. Writers take turns by a lock; readers take none, and see each
// change whole or not at all, since it is the renaming of the manifest that makes it.
import { readdir, rm } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { syncFolder } from '../disk/atomic-file.js';
import { makeFolder } from '../disk/folder.js';
import { withLock } from '../disk/lock-file.js';
import { at, codeOf, messageOf, UserError } from '../errors.js';
import { isUntidy, joinSegments, segmentsToJoin } from './compaction.js';
import type { Scan } from './encoder.js';
import { SCAN_VALUES } from './exact.js';
import { emptyManifest, type Manifest, manifestStamp, readManifest, SEGMENTS, writeManifest } from './manifest.js';
import {
  filesOf,
  openSegment,
  readRows,
  type Segment,
  segmentName,
  writeSegment,
  writeTombstones,
} from './segments.js';
import type { EmbeddedImage, IndexedImage, IndexFacts, IndexStore, NearestOptions, Neighbour } from './store.js';
import { Turns } from './turns.js';

/** What a reader sees until it refreshes. */
interface Snapshot {
  readonly stamp: string | undefined;
  readonly manifest: Manifest;
  readonly segments: readonly Segment[];
  readonly count: number;
}

/** Where an image is. */
interface Place {
  readonly segment: Segment;
  readonly row: number;
}

/** Attempts at what a writer may come in between. */
const ATTEMPTS = 20;

let stores = 0;

export class FolderStore implements IndexStore {
  readonly #scan: Scan;
  readonly #number = ++stores;
  #snapshot: Snapshot;
  /** Changes of this store, one after the other: the lock is for those of others. */
  #lastChange: Promise<unknown> = Promise.resolve();
  #refreshing: Promise<void> | undefined;

  private constructor(
    /** The folder, absolute. */
    readonly name: string,
    readonly facts: IndexFacts,
    snapshot: Snapshot,
    scan: Scan,
  ) {
    this.#snapshot = snapshot;
    this.#scan = scan;
  }

  /** Makes an index without images. @throws UserError where there is one already, or the folder has other files */
  static async create(path: string, facts: IndexFacts, scan: Scan): Promise<FolderStore> {
    const index = resolve(path);
    const others = await readdir(index).catch((error: unknown): string[] => {
      if (codeOf(error) === 'ENOENT') return [];
      throw new UserError(
        `${index} cannot be made into an index: it is a file, or may not be read. Name another folder.`,
        {
          cause: error,
        },
      );
    });
    // What a writer leaves that was killed before it had made the manifest is no obstacle.
    const foreign = others.find((name) => name !== SEGMENTS && name !== LOCK && !name.startsWith('.manifest.json.'));
    if (foreign !== undefined) {
      const what = others.includes('manifest.json') ? 'an index already' : `other files (${foreign})`;
      throw new UserError(`${index} has ${what}. Name another folder.`);
    }
    makeFolder(join(index, SEGMENTS));
    await withLock(join(index, LOCK), {}, async () => {
      if ((await manifestStamp(index)) === undefined) await writeManifest(index, emptyManifest(stored(index, facts)));
    });
    return FolderStore.open(index, scan);
  }

  /** @throws UserError for what is no index, or a damaged one; the reason of `signal` */
  static async open(path: string, scan: Scan, signal?: AbortSignal): Promise<FolderStore> {
    const index = resolve(path);
    const snapshot = await load(index, undefined, signal);
    const { folder, ...others } = snapshot.manifest.facts;
    const facts = { ...others, folder: folder === undefined ? undefined : resolve(index, folder) };
    return new FolderStore(index, facts, snapshot, scan);
  }

  async count(): Promise<number> {
    return this.#snapshot.count;
  }

  async *images(signal?: AbortSignal): AsyncGenerator<IndexedImage> {
    const turns = new Turns();
    for (const { rows, removed } of this.#snapshot.segments)
      for (let row = 0; row < rows.count; row++) {
        if (removed?.[row] === 1) continue;
        yield rows.image(row);
        if (row % 64 === 0) await turns.rest(signal);
      }
  }

  async get(ids: readonly string[]): Promise<(IndexedImage | undefined)[]> {
    const { segments } = this.#snapshot;
    const places = await find(segments, ids);
    return places.map((place) => place?.segment.rows.image(place.row));
  }

  features(ids: readonly string[]): Promise<(Float32Array | undefined)[]> {
    return this.#read(async ({ segments }) => {
      const places = await find(segments, ids);
      return Promise.all(places.map((place) => place && featureAt(place)));
    });
  }

  tokens(id: string): Promise<Uint8Array | undefined> {
    return this.#read(async ({ segments }) => {
      const [place] = await find(segments, [id]);
      if (place?.segment.tokens === undefined) return undefined;
      const { segment, row } = place;
      return readRows(segment.tokensPath, place.segment.tokens, row, row + 1);
    });
  }

  async nearest(query: Float32Array, k: number, options: NearestOptions = {}): Promise<Neighbour[]> {
    const { filter, where, signal } = options;
    if (where !== undefined)
      throw new UserError('`where` is for an index in PostgreSQL. Give `filter`, a function, to one in a folder.', {
        exitCode: 2,
      });
    return this.#read(async ({ segments }) => {
      const masks =
        filter === undefined ? segments.map(({ removed }) => removed) : await chosen(segments, filter, signal);
      const scanned = segments.map(({ featuresPath, rows }, s) => ({
        path: featuresPath,
        rows: rows.count,
        left: masks[s],
      }));
      const found = await this.#scan({ index: this.#number, segments: scanned, query, k }, signal);
      return ordered(segments, found, k);
    });
  }

  async append(images: readonly EmbeddedImage[]): Promise<void> {
    const latest = [...new Map(images.map((image) => [image.id, image])).values()];
    if (latest.length === 0) return;
    await this.#change(async ({ manifest, segments }) => {
      const ids = latest.map(({ id }) => id);
      const entries = await this.#withoutIds(segments, ids);
      const entry = await writeSegment(this.name, segmentName(manifest), latest, this.facts);
      return { ...manifest, next: manifest.next + 1, segments: [...entries.entries, entry] };
    });
    await this.#tidy();
  }

  async remove(ids: readonly string[]): Promise<number> {
    let removed = 0;
    await this.#change(async ({ manifest, segments }) => {
      const { entries, count } = await this.#withoutIds(segments, ids);
      removed = count;
      return count === 0 ? manifest : { ...manifest, segments: entries };
    });
    if (removed > 0) await this.#tidy();
    return removed;
  }

  refresh(): Promise<void> {
    this.#refreshing ??= this.#reload().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async compact(): Promise<void> {
    await this.#change(async (snapshot) => this.#joined(snapshot, snapshot.segments));
  }

  async close(): Promise<void> {
    await this.#lastChange.catch(() => undefined);
    // The scan of nothing lets the thread unmap the segments; where the model is closed already, it has.
    await this.#scan({ index: this.#number, segments: [], query: new Float32Array(), k: 1 }).catch(() => undefined);
  }

  /** Joins small segments, and those that have many rows that were removed. */
  async #tidy(): Promise<void> {
    if (!isUntidy(this.#snapshot.manifest)) return;
    await this.#change(async (snapshot) => {
      const names = new Set(segmentsToJoin(snapshot.manifest));
      const joined = snapshot.segments.filter(({ entry }) => names.has(entry.name));
      return this.#joined(snapshot, joined);
    });
  }

  /** The manifest with `segments` joined into one; the same where they are one without gaps. */
  async #joined({ manifest }: Snapshot, segments: readonly Segment[]): Promise<Manifest> {
    const [first] = segments;
    if (first === undefined || (segments.length === 1 && first.removed === undefined)) return manifest;
    const entry = await joinSegments(this.name, segmentName(manifest), segments, this.facts);
    const gone = new Set(segments.map(({ entry }) => entry.name));
    const others = manifest.segments.filter(({ name }) => !gone.has(name));
    return { ...manifest, next: manifest.next + 1, segments: entry === undefined ? others : [...others, entry] };
  }

  /** The entries of the segments once these ids are removed from them; tombstones are written where there are new ones. */
  async #withoutIds(segments: readonly Segment[], ids: readonly string[]) {
    const marks = new Map<Segment, Uint8Array>();
    let count = 0;
    for (const place of await find(segments, ids)) {
      if (place === undefined) continue;
      const { segment, row } = place;
      const mark = marks.get(segment) ?? segment.removed?.slice() ?? new Uint8Array(segment.rows.count);
      marks.set(segment, mark);
      count += mark[row] === 1 ? 0 : 1;
      mark[row] = 1;
    }
    const entries = await Promise.all(
      segments.map((segment) => {
        const mark = marks.get(segment);
        return mark === undefined ? segment.entry : writeTombstones(this.name, segment.entry, mark);
      }),
    );
    // A segment without an image left is none.
    return { entries: entries.filter(({ rows, removed }) => removed < rows), count };
  }

  /** Commits what `make` gives for the newest snapshot. Whoever is killed meanwhile has changed nothing. */
  #change(make: (snapshot: Snapshot) => Promise<Manifest>): Promise<void> {
    const work = async () => {
      for (let attempt = 1; ; attempt++) {
        const isDone = await withLock(join(this.name, LOCK), {}, async () => {
          await this.refresh();
          const snapshot = this.#snapshot;
          await this.#removeOrphans(snapshot.manifest);
          const manifest = await make(snapshot);
          if (manifest === snapshot.manifest) return true;
          await syncFolder(join(this.name, SEGMENTS));
          // Someone who took this writer for dead, since its machine slept, may have committed.
          if ((await manifestStamp(this.name)) !== snapshot.stamp && attempt < ATTEMPTS) return false;
          await writeManifest(this.name, manifest);
          await this.refresh();
          await this.#removeOrphans(manifest);
          return true;
        });
        if (isDone) return;
      }
    };
    const change = this.#lastChange.then(work, work);
    this.#lastChange = change;
    return change;
  }

  /** Removes what no manifest names: of writers that were killed, and of segments that were joined. Only under the lock. */
  async #removeOrphans(manifest: Manifest): Promise<void> {
    const named = new Set(manifest.segments.flatMap(filesOf));
    const folder = join(this.name, SEGMENTS);
    for (const name of await readdir(folder).catch(() => []))
      if (!named.has(name)) await rm(join(folder, name), { force: true }).catch(() => undefined);
  }

  async #reload(): Promise<void> {
    if ((await manifestStamp(this.name)) === this.#snapshot.stamp) return;
    this.#snapshot = await load(this.name, this.#snapshot);
  }

  /** Reads from the snapshot; anew where its files went meanwhile, because a writer joined segments. */
  async #read<T>(work: (snapshot: Snapshot) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const snapshot = this.#snapshot;
      try {
        return await work(snapshot);
      } catch (error) {
        await this.refresh();
        if (this.#snapshot === snapshot || attempt === ATTEMPTS) throw error;
      }
    }
  }
}

const LOCK = 'lock';

/** Facts as the manifest has them: a folder beside the index may move with it. */
function stored(index: string, { folder, include, ...others }: IndexFacts): Manifest['facts'] {
  const way = folder === undefined ? undefined : relative(index, resolve(folder));
  const isNear = way !== undefined && !isAbsolute(way) && !way.startsWith(join('..', '..'));
  return {
    ...others,
    ...(folder !== undefined && { folder: isNear ? way || '.' : resolve(folder) }),
    ...(include !== undefined && { include: [...include] }),
  };
}

/** Opens all segments of the manifest; those of `before` are open already. */
async function load(index: string, before: Snapshot | undefined, signal?: AbortSignal): Promise<Snapshot> {
  const known = new Map(before?.segments.map((segment) => [segment.entry.name, segment]));
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    const stamp = await manifestStamp(index);
    const manifest = await readManifest(index);
    const folder = manifest.facts.folder === undefined ? undefined : resolve(index, manifest.facts.folder);
    try {
      const segments: Segment[] = [];
      for (const entry of manifest.segments)
        segments.push(await openSegment(index, entry, { ...manifest.facts, folder }, known.get(entry.name), signal));
      const count = manifest.segments.reduce((sum, { rows, removed }) => sum + rows - removed, 0);
      return { stamp, manifest, segments, count };
    } catch (error) {
      signal?.throwIfAborted();
      // A writer may have joined segments since the manifest was read.
      if ((await manifestStamp(index)) !== stamp && attempt < ATTEMPTS) continue;
      if (error instanceof UserError) throw error;
      throw unreadable(index, error);
    }
  }
}

function unreadable(index: string, error: unknown): UserError {
  const code = codeOf(error);
  const what =
    code === 'EACCES' || code === 'EPERM'
      ? `The index ${index} has files that may not be read by this user. Change their permissions.`
      : `The index ${index} is damaged: ${code === 'ENOENT' ? 'a file of its segments is missing' : `its segments cannot be read (${messageOf(error)})`}. Make the index again.`;
  return new UserError(what, { cause: error });
}

/** Where these ids are. */
async function find(segments: readonly Segment[], ids: readonly string[]): Promise<(Place | undefined)[]> {
  if (ids.length === 0) return [];
  const turns = new Turns();
  const newest = [...segments].reverse();
  for (const { rows } of newest) await rows.ready();
  const places: (Place | undefined)[] = [];
  for (const id of ids) {
    let found: Place | undefined;
    for (const segment of newest) {
      const row = segment.rows.find(id);
      if (row === undefined || segment.removed?.[row] === 1) continue;
      found = { segment, row };
      break;
    }
    places.push(found);
    if (places.length % 64 === 0) await turns.rest();
  }
  return places;
}

async function featureAt({ segment, row }: Place): Promise<Float32Array> {
  return new Float32Array((await readRows(segment.featuresPath, segment.features, row, row + 1)).buffer);
}

/** For each segment 1 for the rows that `filter` leaves out or that were removed. */
async function chosen(
  segments: readonly Segment[],
  filter: (image: IndexedImage) => boolean,
  signal: AbortSignal | undefined,
): Promise<Uint8Array[]> {
  const turns = new Turns();
  const masks: Uint8Array[] = [];
  for (const { rows, removed } of segments) {
    const mask = removed?.slice() ?? new Uint8Array(rows.count);
    for (let row = 0; row < rows.count; row++) {
      if (mask[row] === 0 && !filter(rows.image(row))) mask[row] = 1;
      if (row % 64 === 0) await turns.rest(signal);
    }
    masks.push(mask);
  }
  return masks;
}

const byRank = (a: Neighbour, b: Neighbour) => b.similarity - a.similarity || (a.id < b.id ? -1 : 1);

/** Best first, equal ones by id, at most k. */
async function ordered(segments: readonly Segment[], found: Float64Array, k: number): Promise<Neighbour[]> {
  const turns = new Turns();
  const neighbours: Neighbour[] = [];
  for (let i = 0; i < found.length; i += SCAN_VALUES) {
    const { rows } = at(segments, at(found, i));
    const image = rows.image(at(found, i + 1));
    neighbours.push({ id: image.id, similarity: at(found, i + 2), image });
    if (i % 64 === 0) await turns.rest();
  }
  neighbours.sort(byRank);
  return neighbours.slice(0, k);
}
