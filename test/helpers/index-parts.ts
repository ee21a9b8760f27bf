// Indexes without a model: images with made-up features, an encoder that makes them from an image's bytes, a scan of this thread.
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { UserError } from '#blip/errors.js';
import type { Encoder, ImageInput, Model, Scan } from '#blip/index/encoder.js';
import { ExactScan } from '#blip/index/exact.js';
import type { EmbeddedImage, IndexFacts } from '#blip/index/store.js';
import { noise } from './files.js';

export const DIM = 16;

export const facts: IndexFacts = {
  fingerprint: 'f00d',
  source: 'model.pth',
  imageSize: 8,
  embedDim: DIM,
  keepsTokens: false,
};

/** The unit feature that a seed gives. */
export function feature(seed: number, dim = DIM): Float32Array {
  const values = Float32Array.from(noise(dim * 2, seed * 7919 + 13).subarray(dim), (byte) => byte - 127.5);
  const length = Math.hypot(...values);
  return values.map((value) => value / length);
}

export function embedded(id: string, seed: number, more: Partial<EmbeddedImage> = {}): EmbeddedImage {
  return { id, digest: `digest ${seed}`, feature: feature(seed), ...more };
}

/** A scan of this thread, and what it has mapped. */
export function localScan(): Scan {
  const scan = new ExactScan();
  return async (job, signal) => {
    signal?.throwIfAborted();
    return scan.nearest(job);
  };
}

/** What a fake encoder has encoded, in the order of the calls. */
export interface FakeEncoder extends Encoder {
  readonly encoded: string[];
}

/** An image whose bytes begin with `bad` cannot be read; of others the feature follows from the bytes. */
export function fakeEncoder(changes: Partial<Encoder> = {}): FakeEncoder {
  const encoded: string[] = [];
  const bytesOf = (image: ImageInput) => {
    if (typeof image === 'string') return readFileSync(image);
    if (image instanceof Uint8Array) return Buffer.from(image);
    throw new TypeError('Expected a path or bytes.');
  };
  const digestOf = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex');
  const seedOf = (bytes: Buffer | string) => Number.parseInt(digestOf(bytes).slice(0, 6), 16);
  const model: Model = {
    embedText: async (text) => feature(seedOf(text)),
    embedImage: async (image) => feature(seedOf(bytesOf(image))),
    encode: async (image, name, keepTokens) => {
      encoded.push(name);
      const bytes = bytesOf(image);
      if (bytes.subarray(0, 3).toString() === 'bad') throw new UserError(`The image ${name} is damaged. Replace it.`);
      const stats = typeof image === 'string' ? statSync(image) : undefined;
      return {
        feature: feature(seedOf(bytes)),
        tokens: keepTokens ? new Uint8Array(8).fill(bytes.length) : undefined,
        digest: digestOf(bytes),
        file:
          stats && typeof image === 'string' ? { path: image, size: stats.size, modified: stats.mtimeMs } : undefined,
      };
    },
    match: async () => {
      throw new TypeError('Expected no match.');
    },
  };
  return {
    fingerprint: facts.fingerprint,
    source: facts.source,
    imageSize: facts.imageSize,
    embedDim: facts.embedDim,
    window: 4,
    call: async (_method, signal, work) => {
      signal?.throwIfAborted();
      return work(model, signal ?? new AbortController().signal);
    },
    checkImage: () => {},
    scan: localScan(),
    encoded,
    ...changes,
  };
}
