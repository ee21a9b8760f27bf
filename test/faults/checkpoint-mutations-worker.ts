// Runs in a child process: mutates checkpoint files, opens each as a user would, and reports what came of it by IPC.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, UserError } from '#blip/errors.js';
import { flattenCheckpoint, openCheckpoint, stateDictOf, tensorSums } from '#blip/torch/checkpoint/index.js';
import { type ZipPart, zipOf } from '../helpers/checkpoint-files.js';

/** What the parent asks for: mutations `first` to `first + count` of the files, or the files as they are. */
export interface Task {
  files: string[];
  folder: string;
  seed: number;
  first: number;
  /** 0: open the last of the files once, the others being for warming up. */
  count: number;
}

export interface Report {
  /** Number of the mutation that comes next; the parent watches that it rises. */
  at: number;
  opened: number;
  refused: number;
  /** Set when something other than a UserError was thrown. */
  failure?: string;
  /** Peak memory after warming up and now, in bytes, and the size of the largest file opened. */
  baseline: number;
  peak: number;
  largest: number;
}

type Random = (below: number) => number;

/** mulberry32: small, seeded, the same everywhere. */
function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** Numbers that lengths, counts, offsets and indices go wrong at. */
const EDGES = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const OPCODES = Buffer.from(
  '()]}.0122KJMNXUGhjqrtaeuscbRQ\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8f\x90\x91\x93\x94\x95',
  'latin1',
);

const mutators: ((bytes: Buffer, random: Random, donor: Buffer) => Buffer)[] = [
  (bytes, random) => {
    for (let n = 1 + random(8); n > 0 && bytes.length > 0; n--) {
      const at = random(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
    }
    return bytes;
  },
  (bytes, random) => bytes.subarray(0, random(bytes.length + 1)),
  (bytes, random) => {
    const [from, to] = [random(bytes.length + 1), random(bytes.length + 1)].sort((a, b) => a - b);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  (bytes, random, donor) => {
    const from = random(donor.length + 1);
    const piece = donor.subarray(from, from + random(200));
    const at = random(bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + random(2) * piece.length)]);
  },
  (bytes, random) => {
    const at = random(bytes.length + 1);
    const filling = Buffer.alloc(1 + random(random(8) === 0 ? 20_000 : 16), OPCODES[random(OPCODES.length)]);
    return Buffer.concat([bytes.subarray(0, at), filling, bytes.subarray(at)]);
  },
  (bytes, random) => {
    for (let n = 1 + random(2); n > 0; n--) {
      const width = [1, 2, 4, 8][random(4)] ?? 1;
      const edges = [...EDGES, BigInt(bytes.length), BigInt(bytes.length + 1), BigInt(random(2 ** 32))];
      const field = Buffer.alloc(8);
      field.writeBigUInt64LE(edges[random(edges.length)] ?? 0n);
      if (bytes.length >= width) field.copy(bytes, random(bytes.length - width + 1), 0, width);
    }
    return bytes;
  },
  (bytes, random) => {
    const soup = Buffer.from(Array.from({ length: 1 + random(40) }, () => OPCODES[random(OPCODES.length)] ?? 0));
    const at = 2 + random(Math.max(1, bytes.length - 2));
    return Buffer.concat([bytes.subarray(0, at), soup, bytes.subarray(at)]);
  },
];

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

interface Base {
  bytes: Buffer;
  /** Of zip files: mutated inside and packed again, so that the checksum does not stop every mutation at the door. */
  entries?: ZipPart[];
}

/** Mutation number `index`: the same bytes in every run with this seed. */
function mutation(bases: readonly Base[], seed: number, index: number): Buffer {
  const random = randomFrom(Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b));
  const base = bases[random(bases.length)];
  const donor = bases[random(bases.length)]?.bytes ?? Buffer.alloc(0);
  const mutate = (bytes: Uint8Array): Buffer => {
    let result: Buffer = Buffer.from(bytes);
    for (let n = random(3); n >= 0; n--) {
      result = mutators[random(mutators.length)]?.(Buffer.from(result), random, donor) ?? result;
    }
    return result;
  };
  if (base?.entries === undefined || random(3) === 0) return mutate(base?.bytes ?? donor);
  const chosen =
    random(4) === 0 ? random(base.entries.length) : base.entries.findIndex(({ name }) => name.endsWith('/data.pkl'));
  return zipOf(base.entries.map((part, i) => (i === chosen ? { ...part, bytes: mutate(part.bytes) } : part)));
}

/** Everything that the product does with a checkpoint; true when it opened. Throws what is no UserError. */
function use(path: string): boolean {
  try {
    const checkpoint = openCheckpoint(path);
    const { tensors } = flattenCheckpoint(checkpoint);
    tensorSums(checkpoint, tensors);
    try {
      stateDictOf(checkpoint);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
    }
    return true;
  } catch (error) {
    if (error instanceof UserError && error.message.includes(path)) return false;
    throw error;
  }
}

/** Most memory that this process ever had, in bytes. Not getrusage's, which a child inherits from its parent. */
function peak(): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  if (kilobytes === undefined) throw new Error('/proc/self/status does not tell VmHWM');
  return Number(kilobytes) * 1024;
}

function run({ files, folder, seed, first, count }: Task): void {
  const bases = files.map((path): Base => {
    const bytes: Buffer = count === 0 ? Buffer.alloc(0) : readFileSync(path);
    return bytes.subarray(0, 2).toString() === 'PK' ? { bytes, entries: entriesOf(bytes) } : { bytes };
  });
  const warmUp = count === 0 ? files.slice(0, -1) : files;
  for (const path of [...warmUp, ...warmUp]) use(path);
  const report: Report = { at: first, opened: 0, refused: 0, baseline: peak(), peak: 0, largest: 0 };
  const send = () => process.send?.({ ...report, peak: peak() });
  const attempt = (path: string) => {
    if (use(path)) report.opened += 1;
    else report.refused += 1;
  };
  send();
  try {
    if (count === 0) attempt(files.at(-1) ?? '');
    const path = join(folder, `${process.pid}.pth`);
    for (; report.at < first + count; report.at++) {
      const bytes = mutation(bases, seed, report.at);
      report.largest = Math.max(report.largest, bytes.length);
      writeFileSync(path, bytes);
      attempt(path);
      if (report.at % 20 === 0) send();
    }
  } catch (error) {
    report.failure = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
  }
  send();
}

process.once('message', (task: Task) => run(task));
