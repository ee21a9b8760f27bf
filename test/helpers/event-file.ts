// Reads TensorBoard's event files with a decoder of its own, so that the writer's mistakes are not read back as right.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The fields of a message: numbers of varints, doubles and floats; bytes of the rest. */
type Fields = Map<number, (number | Buffer)[]>;

export interface ReadValue {
  tag: string;
  scalar?: number;
  text?: string;
  image?: { height: number; width: number; bytes: Buffer };
}

export interface ReadEvent {
  wallTime: number;
  step: number;
  fileVersion?: string;
  starts: boolean;
  values: ReadValue[];
}

function fieldsOf(bytes: Buffer): Fields {
  const fields: Fields = new Map();
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes.readUInt8(at++);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  const take = (length: number) => {
    assert.ok(at + length <= bytes.length, 'a field ends after its message');
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const key = varint();
    const field = Math.floor(key / 8);
    const read: Record<number, () => number | Buffer> = {
      0: varint,
      1: () => take(8).readDoubleLE(),
      2: () => take(varint()),
      5: () => take(4).readFloatLE(),
    };
    const value = read[key % 8]?.();
    assert.ok(value !== undefined, `wire type ${key % 8}`);
    fields.set(field, [...(fields.get(field) ?? []), value]);
  }
  return fields;
}

const messages = (fields: Fields, field: number) => (fields.get(field) ?? []).filter((value) => Buffer.isBuffer(value));
const number = (fields: Fields, field: number) => Number(fields.get(field)?.[0] ?? 0);
const string = (fields: Fields, field: number) => messages(fields, field)[0]?.toString();

function readValue(bytes: Buffer): ReadValue {
  const value = fieldsOf(bytes);
  const read: ReadValue = { tag: string(value, 1) ?? '' };
  if (value.has(2)) read.scalar = number(value, 2);
  for (const image of messages(value, 4).map(fieldsOf))
    read.image = {
      height: number(image, 1),
      width: number(image, 2),
      bytes: messages(image, 4)[0] ?? Buffer.alloc(0),
    };
  for (const tensor of messages(value, 8).map(fieldsOf)) read.text = string(tensor, 8) ?? '';
  return read;
}

/** The CRC-32C of bytes, bit by bit. */
function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function unmask(masked: number): number {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}

/** The events of a file; an incomplete record at its end is left out. Throws where a checksum is wrong. */
export function readEvents(path: string): ReadEvent[] {
  const bytes = readFileSync(path);
  const events: ReadEvent[] = [];
  for (let at = 0; at + 12 <= bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    assert.equal(unmask(bytes.readUInt32LE(at + 8)), crc32c(bytes.subarray(at, at + 8)), 'checksum of the length');
    if (at + 16 + length > bytes.length) break;
    const data = bytes.subarray(at + 12, at + 12 + length);
    assert.equal(unmask(bytes.readUInt32LE(at + 12 + length)), crc32c(data), 'checksum of the data');
    at += 16 + length;
    const event = fieldsOf(data);
    const version = string(event, 3);
    const session = messages(event, 7).map(fieldsOf);
    events.push({
      wallTime: number(event, 1),
      step: number(event, 2),
      ...(version !== undefined && { fileVersion: version }),
      starts: session.some((log) => number(log, 1) === 1),
      values: messages(event, 5).flatMap((summary) => messages(fieldsOf(summary), 1).map(readValue)),
    });
  }
  return events;
}

/** The event files of a folder, in the order in which TensorBoard reads them. A folder inside it is another run. */
export function eventFiles(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.startsWith('events.out.tfevents.'))
    .sort()
    .map((name) => join(folder, name));
}

/** Steps and values of each scalar of a folder as TensorBoard shows them: a start forgets what is at its step or later. */
export function shownScalars(folder: string): Map<string, [step: number, value: number][]> {
  const scalars = new Map<string, [number, number][]>();
  for (const event of eventFiles(folder).flatMap(readEvents)) {
    if (event.starts)
      for (const [tag, points] of scalars)
        scalars.set(
          tag,
          points.filter(([step]) => step < event.step),
        );
    for (const { tag, scalar } of event.values)
      if (scalar !== undefined) scalars.set(tag, [...(scalars.get(tag) ?? []), [event.step, scalar]]);
  }
  return scalars;
}
