// Files of tests: folders that go away, small images, and bytes that look random.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { crc32, deflateSync } from 'node:zlib';

/** A new folder, removed after the test `t`; without one, after all tests of the file. */
export function temporaryFolder(t: { after(remove: () => void): void } = { after }): string {
  const folder = mkdtempSync(join(tmpdir(), 'blip-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface PngOptions {
  width: number;
  height: number;
  /** 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA. */
  colourType: 0 | 2 | 3 | 4 | 6;
  depth?: 8 | 16;
  /** Rows one after the other, big-endian samples. */
  samples: Uint8Array;
  /** Chunks between header and data. */
  chunks?: [name: string, data: Uint8Array][];
}

/** The bytes of a PNG file. */
export function png(options: PngOptions): Buffer {
  const { width, height, colourType, depth = 8, samples, chunks = [] } = options;
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([depth, colourType, 0, 0, 0], 8);
  const rowBytes = samples.length / height;
  const rows = Array.from({ length: height }, (_, y) => [
    Buffer.from([0]),
    samples.subarray(y * rowBytes, (y + 1) * rowBytes),
  ]);
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    ...chunks.map(([name, data]) => chunk(name, data)),
    chunk('IDAT', deflateSync(Buffer.concat(rows.flat()))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(name: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(name, 'latin1'), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}

/** A PNG of one colour. */
export function flatPng(width: number, height: number, colour: readonly [number, number, number]): Buffer {
  const samples = new Uint8Array(width * height * 3).map((_, i) => colour[i % 3] ?? 0);
  return png({ width, height, colourType: 2, samples });
}

/** Bytes that look random and are the same each time. */
export function noise(length: number, seed = 1): Uint8Array {
  let state = seed;
  return new Uint8Array(length).map(() => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}

export interface GoldenTensor {
  shape: number[];
  bytes: Uint8Array;
}

/** The tensors of a safetensors file. */
export function readSafetensors(path: string): Map<string, GoldenTensor> {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header: Record<string, { shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    file.toString('utf8', 8, start),
  );
  const tensors = new Map<string, GoldenTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [from, to] = entry.data_offsets;
    tensors.set(name, { shape: entry.shape, bytes: Uint8Array.from(file.subarray(start + from, start + to)) });
  }
  return tensors;
}
