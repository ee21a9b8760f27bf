// Float32 tensors in a .safetensors file: how images and score matrices pass between the programs that `bench` runs.
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { UserError } from '../errors.js';

export interface FloatTensor {
  shape: number[];
  /** Row by row. */
  data: Float32Array;
}

const Entry = z.object({
  dtype: z.literal('F32'),
  shape: z.array(z.number().int().nonnegative()),
  data_offsets: z.tuple([z.number().int(), z.number().int()]),
});

/** Writes `tensors` to `path`. The numbers are little-endian, as on every machine LibTorch is built for. */
export function writeTensors(path: string, tensors: Readonly<Record<string, FloatTensor>>): void {
  let offset = 0;
  const header: Record<string, z.infer<typeof Entry>> = {};
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path, 'w');
  try {
    const parts = Object.values(tensors).map(
      ({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    );
    for (const part of [length, json, ...parts]) {
      for (let written = 0; written < part.byteLength; ) written += writeSync(file, part, written);
    }
  } finally {
    closeSync(file);
  }
}

/**
 * Reads the float32 tensor `name` of `path`.
 * @throws UserError when the file has no such tensor
 */
export function readTensor(path: string, name: string): FloatTensor {
  const file = readFileSync(path);
  const start = 8 + (file.length < 8 ? 0 : Number(file.readBigUInt64LE(0)));
  if (start > file.length || file.length < 8)
    throw new UserError(`${path} is no .safetensors file: it ends within its header.`);
  const header: unknown = JSON.parse(file.subarray(8, start).toString());
  const entry = z.object({ [name]: Entry }).safeParse(header);
  const found = entry.success ? entry.data[name] : undefined;
  if (!found) throw new UserError(`${path} holds no float32 tensor ${name}.`);
  const [from, to] = found.data_offsets;
  const data = new Float32Array((to - from) / 4);
  if (start + to > file.length || from > to) throw new UserError(`${path} is truncated: ${name} ends beyond it.`);
  file.copy(new Uint8Array(data.buffer), 0, start + from, start + to);
  return { shape: found.shape, data };
}
