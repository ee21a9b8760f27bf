// The few kinds of fields of Protocol Buffers that TensorBoard's events are made of, written as bytes.
// Source: protobuf.dev/programming-guides/encoding.

const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

const tag = (field: number, wire: keyof typeof WIRE) => varint(field * 8 + WIRE[wire]);

/** An integer or enum, 0 to 2^53 - 1. */
export const integer = (field: number, value: number) => Buffer.concat([tag(field, 'varint'), varint(value)]);

export function double(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([tag(field, 'fixed64'), bytes]);
}

export function float(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([tag(field, 'fixed32'), bytes]);
}

/** A text, bytes, or a message: its fields one after another. */
export function delimited(field: number, ...content: readonly (string | Uint8Array)[]): Buffer {
  const bytes = Buffer.concat(content.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  return Buffer.concat([tag(field, 'bytes'), varint(bytes.length), bytes]);
}
