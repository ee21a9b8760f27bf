// A server of a tiny model and its index, and how tests ask it.
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { type ImageIndex, Retriever, type RetrieverOptions } from '#blip/index.js';
import type { ServeOptions } from '#blip/server/options.js';
import { type RunningServer, startServer } from '#blip/server/server.js';
import { deviceOfRank } from '../helpers/device.js';
import { readJson } from '../helpers/tensors.js';
import { tinyCheckpoint, tinyData } from '../helpers/tiny-run.js';

export const rows = readJson<{ image: string; caption: string[] }[]>(
  join(tinyData, 'annotation/coco_karpathy_test.json'),
);

export interface Opened {
  blip: Retriever;
  index: ImageIndex;
  photos: string;
  checkpoint: string;
}

export async function openTiny(folder: string, options: RetrieverOptions = {}): Promise<Opened> {
  const photos = join(folder, 'photos');
  for (const { image } of rows) cpSync(join(tinyData, 'images', image), join(photos, image));
  const checkpoint = await tinyCheckpoint(folder);
  const blip = await Retriever.open(checkpoint, { device: deviceOfRank(0), ...options });
  return { blip, index: await blip.createIndex(photos), photos, checkpoint };
}

export const printed: string[] = [];

export function serveTiny({ blip, index }: Opened, options: Partial<ServeOptions> = {}): Promise<RunningServer> {
  const limits = { maxBody: 2 ** 20, maxBatch: 32, maxPixels: 10_000_000, queue: 64, timeout: 60 };
  const place = { host: '127.0.0.1', port: 0, allowedHosts: [], verbose: false };
  const print = (line: string) => printed.push(line);
  return startServer({ model: blip, index }, { ...limits, ...place, print, ...options }, '0.0.0');
}

export interface Told {
  status: number;
  headers: Headers;
  body: unknown;
}

/** Posts JSON, or bytes as an image. */
export async function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Told> {
  const isBytes = body instanceof Uint8Array;
  const response = await fetch(url, {
    method: 'POST',
    body: isBytes ? new Uint8Array(body) : typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'Content-Type': isBytes ? 'image/jpeg' : 'application/json', ...headers },
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}
