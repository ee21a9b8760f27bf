// Which segments are joined, and when: searching many small ones costs more than one large one, and removed rows cost room.
import { at } from '../errors.js';
import type { Manifest, SegmentEntry } from './manifest.js';
import { headerOf, readRows, type Segment, segmentFile, writeNew } from './segments.js';
import { Turns } from './turns.js';

const MOST_SEGMENTS = 64;
/** Bytes that are copied at a time. */
const COPY_BYTES = 8 * 2 ** 20;

const total = (segments: readonly SegmentEntry[], of: (segment: SegmentEntry) => number) =>
  segments.reduce((sum, segment) => sum + of(segment), 0);

/** Whether there are too many segments, or a third of the rows was removed. */
export function isUntidy({ segments }: Manifest): boolean {
  return segments.length > MOST_SEGMENTS || isSparse(segments);
}

const isSparse = (segments: readonly SegmentEntry[]) =>
  3 * total(segments, ({ removed }) => removed) >=
  Math.max(
    1,
    total(segments, ({ rows }) => rows),
  );

/**
 * The names of those to join: all where a third of the rows was removed; else the small ones, up to one that is more than
 * twice as large as all below it together. So each row is copied a number of times that grows with the logarithm of their number.
 */
export function segmentsToJoin({ segments }: Manifest): string[] {
  if (isSparse(segments)) return segments.map(({ name }) => name);
  const bySize = [...segments].sort((a, b) => a.rows - b.rows);
  let below = 0;
  const end = bySize.findIndex(({ rows }, i) => {
    const isLarge = i > 1 && rows > 2 * below;
    below += rows;
    return isLarge;
  });
  return bySize.slice(0, end < 0 ? undefined : end).map(({ name }) => name);
}

/** Runs of rows that are there, at most `most` of them each. */
function* runs({ rows, removed }: Segment, most: number): Generator<[start: number, end: number]> {
  for (let start = 0; start < rows.count; start++) {
    if (removed?.[start] === 1) continue;
    let end = start + 1;
    while (end < rows.count && removed?.[end] !== 1 && end - start < most) end += 1;
    yield [start, end];
    start = end - 1;
  }
}

/** Writes what is left of `segments` as one; undefined where nothing is. The event loop turns meanwhile. */
export async function joinSegments(
  index: string,
  name: string,
  segments: readonly Segment[],
  { embedDim, keepsTokens }: { embedDim: number; keepsTokens: boolean },
): Promise<SegmentEntry | undefined> {
  const rows = total(
    segments.map(({ entry }) => entry),
    (entry) => entry.rows - entry.removed,
  );
  if (rows === 0) return undefined;
  const file = segmentFile(index, name);
  const rowBytes = embedDim * 4;
  async function* features() {
    yield headerOf('features', 'F32', [rows, embedDim], rows * rowBytes);
    for (const segment of segments) yield* liveRows(segment, segment.featuresPath, segment.features, rowBytes);
  }
  await writeNew(`${file}.safetensors`, features());
  if (keepsTokens) await writeNew(`${file}.tokens.safetensors`, tokensOf(segments, rows));
  await writeNew(`${file}.jsonl`, linesOf(segments));
  return { name, rows, removed: 0 };
}

async function* tokensOf(segments: readonly Segment[], rows: number): AsyncGenerator<Uint8Array> {
  const width = at(segments, 0).tokens?.shape[1];
  if (width === undefined) throw new TypeError('Expected segments with tokens but received one without.');
  yield headerOf('tokens', 'BF16', [rows, width], rows * width * 2);
  for (const segment of segments)
    if (segment.tokens?.shape[1] === width) yield* liveRows(segment, segment.tokensPath, segment.tokens, width * 2);
    else throw new TypeError('Expected segments with tokens of one size but received others.');
}

/** The bytes of the rows that are left, a few megabytes at a time: gaps are read and closed. */
async function* liveRows(
  segment: Segment,
  path: string,
  entry: Segment['features'],
  rowBytes: number,
): AsyncGenerator<Uint8Array> {
  const most = Math.max(1, Math.floor(COPY_BYTES / rowBytes));
  const { rows, removed } = segment;
  for (let start = 0; start < rows.count; start += most) {
    const end = Math.min(start + most, rows.count);
    const bytes = await readRows(path, entry, start, end);
    if (removed === undefined) {
      yield bytes;
      continue;
    }
    let kept = 0;
    for (let row = start; row < end; row++) {
      if (removed[row] === 1) continue;
      bytes.copyWithin(kept, (row - start) * rowBytes, (row - start + 1) * rowBytes);
      kept += rowBytes;
    }
    yield bytes.subarray(0, kept);
  }
}

async function* linesOf(segments: readonly Segment[]): AsyncGenerator<Uint8Array> {
  const turns = new Turns();
  for (const segment of segments)
    for (const [start, end] of runs(segment, 4096)) {
      yield segment.rows.bytes.subarray(at(segment.rows.starts, start), at(segment.rows.starts, end));
      await turns.rest();
    }
}
