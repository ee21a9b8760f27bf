// Damages checkpoint files: mutation number n of a seed is the same bytes in every run.
import { Random } from '#blip/data/random.js';
import { at } from '#blip/errors.js';
import { type ZipPart, zipOf } from '../helpers/checkpoint-files.js';

/** A good checkpoint. The entries of a zip file are mutated and packed again: else its checksums would catch everything. */
export interface Base {
  bytes: Buffer;
  entries?: ZipPart[];
}

export function baseOf(bytes: Buffer): Base {
  return bytes.subarray(0, 2).toString() === 'PK' ? { bytes, entries: entriesOf(bytes) } : { bytes };
}

/** A damaged copy of one of `bases`. */
export function mutation(bases: readonly Base[], seed: number, number: number): Buffer {
  const random = new Random(Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b));
  const base = pick(bases, random);
  const donor = pick(bases, random).bytes;
  const mutate = (bytes: Uint8Array): Buffer => {
    let result: Buffer = Buffer.from(bytes);
    for (let n = random.below(3); n >= 0; n--) result = pick(mutators, random)(Buffer.from(result), random, donor);
    return result;
  };
  if (base.entries === undefined || random.below(3) === 0) return mutate(base.bytes);
  const pickle = base.entries.findIndex(({ name }) => name.endsWith('/data.pkl'));
  const chosen = random.below(4) === 0 ? random.below(base.entries.length) : pickle;
  return zipOf(base.entries.map((part, i) => (i === chosen ? { ...part, bytes: mutate(part.bytes) } : part)));
}

// ---- the kinds of damage. Each may change `bytes`, which is a copy, and returns the result.

type Mutator = (bytes: Buffer, random: Random, donor: Buffer) => Buffer;

const mutators: readonly Mutator[] = [
  flipBits,
  truncate,
  removePiece,
  pastePiece,
  repeatOpcode,
  writeNumber,
  insertOpcodes,
];

function flipBits(bytes: Buffer, random: Random): Buffer {
  for (let n = 1 + random.below(8); n > 0 && bytes.length > 0; n--) {
    const offset = random.below(bytes.length);
    bytes.writeUInt8(bytes.readUInt8(offset) ^ (1 << random.below(8)), offset);
  }
  return bytes;
}

function truncate(bytes: Buffer, random: Random): Buffer {
  return bytes.subarray(0, random.below(bytes.length + 1));
}

function removePiece(bytes: Buffer, random: Random): Buffer {
  const [a, b] = [random.below(bytes.length + 1), random.below(bytes.length + 1)];
  return Buffer.concat([bytes.subarray(0, Math.min(a, b)), bytes.subarray(Math.max(a, b))]);
}

/** Inserts a piece of another file, or overwrites with it. */
function pastePiece(bytes: Buffer, random: Random, donor: Buffer): Buffer {
  const from = random.below(donor.length + 1);
  const piece = donor.subarray(from, from + random.below(200));
  const to = random.below(bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, to), piece, bytes.subarray(to + random.below(2) * piece.length)]);
}

/** Inserts one opcode many times. */
function repeatOpcode(bytes: Buffer, random: Random): Buffer {
  const to = random.below(bytes.length + 1);
  const count = 1 + random.below(random.below(8) === 0 ? 20_000 : 16);
  const opcode = at(OPCODES, random.below(OPCODES.length));
  return Buffer.concat([bytes.subarray(0, to), Buffer.alloc(count, opcode), bytes.subarray(to)]);
}

/** Overwrites one or two fields of 1 to 8 bytes with numbers at which lengths, offsets and indices go wrong. */
function writeNumber(bytes: Buffer, random: Random): Buffer {
  for (let n = 1 + random.below(2); n > 0; n--) {
    const width = pick([1, 2, 4, 8], random);
    const numbers = [...EDGES, BigInt(bytes.length), BigInt(bytes.length + 1), BigInt(random.below(2 ** 32))];
    const field = Buffer.alloc(8);
    field.writeBigUInt64LE(pick(numbers, random));
    if (bytes.length >= width) field.copy(bytes, random.below(bytes.length - width + 1), 0, width);
  }
  return bytes;
}

/** Inserts up to 40 random opcodes, after the first two bytes (a pickle's protocol). */
function insertOpcodes(bytes: Buffer, random: Random): Buffer {
  const count = 1 + random.below(40);
  const inserted = Buffer.from(Array.from({ length: count }, () => pick([...OPCODES], random)));
  const to = 2 + random.below(Math.max(1, bytes.length - 2));
  return Buffer.concat([bytes.subarray(0, to), inserted, bytes.subarray(to)]);
}

const POWERS = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 2 ** 53];
const EDGES = [...POWERS.map(BigInt), 2n ** 63n, 2n ** 64n - 1n];

/** Opcodes of pickles, and digits. */
const OPCODES = Buffer.from(
  '()]}.0122KJMNXUGhjqrtaeuscbRQ\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8f\x90\x91\x93\x94\x95',
  'latin1',
);

function pick<T>(list: readonly T[], random: Random): T {
  return at(list, random.below(list.length));
}

/** The entries of a good zip file with stored entries. */
function entriesOf(zip: Buffer): ZipPart[] {
  const parts: ZipPart[] = [];
  const end = zip.lastIndexOf(Buffer.from('PK\x05\x06'));
  let at = zip.readUInt32LE(end + 16);
  for (let count = zip.readUInt16LE(end + 10); count > 0; count--) {
    const header = zip.readUInt32LE(at + 42);
    const begin = header + 30 + zip.readUInt16LE(header + 26) + zip.readUInt16LE(header + 28);
    const nameEnd = at + 46 + zip.readUInt16LE(at + 28);
    parts.push({
      name: zip.toString('utf8', at + 46, nameEnd),
      bytes: zip.subarray(begin, begin + zip.readUInt32LE(at + 24)),
    });
    at = nameEnd + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32);
  }
  return parts;
}
