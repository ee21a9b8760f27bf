// Makes checkpoint files byte by byte, good and hostile, and reads tensors out of them without the product's help.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { UserError } from '#blip/errors.js';
import { openCheckpoint, type TensorRef } from '#blip/torch/checkpoint/index.js';

export interface ZipPart {
  name: string;
  bytes: Uint8Array;
  method?: number;
  flags?: number;
  crc?: number;
}

/** A zip file of stored entries with right checksums, unless a part says otherwise. */
export function zipOf(parts: readonly ZipPart[]): Buffer {
  const body: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, bytes, method = 0, flags = 0, crc = crc32(bytes) } of parts) {
    const text = Buffer.from(name);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(flags, 6);
    local.writeUInt16LE(method, 8);
    local.writeUInt32LE(crc, 14);
    local.writeUInt32LE(bytes.length, 18);
    local.writeUInt32LE(bytes.length, 22);
    local.writeUInt16LE(text.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(flags, 8);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(crc, 16);
    central.writeUInt32LE(bytes.length, 20);
    central.writeUInt32LE(bytes.length, 24);
    central.writeUInt16LE(text.length, 28);
    central.writeUInt32LE(at, 42);
    body.push(local, text, Buffer.from(bytes));
    directory.push(central, text);
    at += 30 + text.length + bytes.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(parts.length, 8);
  end.writeUInt16LE(parts.length, 10);
  end.writeUInt32LE(Buffer.concat(directory).length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...body, ...directory, end]);
}

/** A checkpoint whose data.pkl is `pickle` and whose storages are given by key. */
export function checkpointOf(pickle: Uint8Array, storages: Record<string, Uint8Array> = {}): Buffer {
  return zipOf([
    { name: 'archive/data.pkl', bytes: pickle },
    { name: 'archive/byteorder', bytes: Buffer.from('little') },
    ...Object.entries(storages).map(([key, bytes]) => ({ name: `archive/data/${key}`, bytes })),
    { name: 'archive/version', bytes: Buffer.from('3\n') },
  ]);
}

export function writeFile(folder: string, name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** Opcodes given as latin-1 text, numbers as single bytes, buffers as they are. */
export function opcodes(...parts: (string | number | Buffer)[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'number') return Buffer.from([part]);
      return typeof part === 'string' ? Buffer.from(part, 'latin1') : part;
    }),
  );
}

/** BINUNICODE. */
export function word(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from('X'), uint32(bytes.length), bytes]);
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Up to `limit` elements in row-major order, read by strides from the file. */
export function elementsOf(path: string, tensor: TensorRef, limit = 1_000_000): number[] {
  const file = readFileSync(path);
  const count = tensor.shape.reduce((product, size) => product * size, 1);
  const elements: number[] = [];
  for (let flat = 0; flat < Math.min(count, limit); flat++) {
    let rest = flat;
    let offset = tensor.storageOffset;
    for (let axis = tensor.shape.length - 1; axis >= 0; axis--) {
      const size = tensor.shape[axis] ?? 1;
      offset += (rest % size) * (tensor.stride[axis] ?? 0);
      rest = Math.floor(rest / size);
    }
    elements.push(elementAt(file, tensor, offset));
  }
  return elements;
}

function elementAt(file: Buffer, { dtype, fileOffset }: TensorRef, offset: number): number {
  switch (dtype) {
    case 'float64':
      return file.readDoubleLE(fileOffset + 8 * offset);
    case 'float32':
      return file.readFloatLE(fileOffset + 4 * offset);
    case 'float16': {
      const bits = file.readUInt16LE(fileOffset + 2 * offset);
      const magnitude =
        ((bits >> 10) & 31) === 0
          ? (bits & 1023) / 2 ** 24
          : (1 + (bits & 1023) / 1024) * 2 ** (((bits >> 10) & 31) - 15);
      return (bits & 0x8000) === 0 ? magnitude : -magnitude;
    }
    case 'bfloat16': {
      const wide = Buffer.alloc(4);
      file.copy(wide, 2, fileOffset + 2 * offset, fileOffset + 2 * offset + 2);
      return wide.readFloatLE(0);
    }
    case 'int64':
      return Number(file.readBigInt64LE(fileOffset + 8 * offset));
    case 'int32':
      return file.readInt32LE(fileOffset + 4 * offset);
    case 'int16':
      return file.readInt16LE(fileOffset + 2 * offset);
    case 'int8':
      return file.readInt8(fileOffset + offset);
    case 'uint8':
      return file.readUInt8(fileOffset + offset);
    case 'bool':
      return file.readUInt8(fileOffset + offset) === 0 ? 0 : 1;
    default:
      throw new Error(`no test reads ${dtype}`);
  }
}

/** The message with which `work` refuses; it must name the file. */
export function refusal(path: string, work: () => unknown = () => openCheckpoint(path)): string {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof UserError, `not a UserError: ${String(error)}`);
    assert.ok(error.message.includes(path), `names no file: ${error.message}`);
    return error.message;
  }
  return assert.fail(`${path} was accepted`);
}
