// The zip container as torch.save writes it: stored entries under one folder. Everything else is refused by name.
import { crc32 } from 'node:zlib';
import { at, printable } from '../../../errors.js';
import type { Budget, FileSource } from '../../file-source.js';

export interface ZipEntry {
  readonly name: string;
  /** Position of the entry's bytes in the file. */
  readonly offset: number;
  readonly bytes: number;
  readonly crc32: number;
}

export interface ZipArchive {
  /** The folder that all entries lie in, without the slash. */
  readonly folder: string;
  /** By name inside that folder: `data.pkl`, `data/0` … */
  readonly entries: ReadonlyMap<string, ZipEntry>;
  /** torch.serialization.set_crc32_options(False) writes 0 for every checksum: then there is nothing to compare. */
  readonly hasChecksums: boolean;
}

const END = 0x06054b50;
const END64 = 0x06064b50;
const END64_LOCATOR = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const ENTRY_COST = 320;

interface Listed {
  name: string;
  rawName: Buffer;
  header: number;
  bytes: number;
  crc32: number;
}

/** Reads the directory at the file's end and checks it against the headers in front of the entries. */
export function readZip(source: FileSource, budget: Budget): ZipArchive {
  const directory = locateDirectory(source);
  const listed = listEntries(source, budget, directory);
  const folder = at(at(listed, 0).name.split('/'), 0);
  const entries = new Map<string, ZipEntry>();
  const byPosition = [...listed].sort((a, b) => a.header - b.header);
  for (const [index, entry] of byPosition.entries()) {
    const limit = byPosition[index + 1]?.header ?? directory.offset;
    const offset = dataOffset(source, entry);
    if (offset + entry.bytes > limit) {
      source.damaged(`its zip entry ${quote(entry.name)} reaches into the next one`);
    }
    const inner = entry.name.slice(folder.length + 1);
    if (entries.has(inner)) source.refuse(`its zip directory lists ${quote(entry.name)} twice`);
    entries.set(inner, { name: entry.name, offset, bytes: entry.bytes, crc32: entry.crc32 });
  }
  return { folder, entries, hasChecksums: listed.some((entry) => entry.crc32 !== 0) };
}

/** Compares an entry's bytes with its checksum, a chunk at a time. */
export function checkEntry(source: FileSource, entry: ZipEntry): void {
  const chunk = Buffer.allocUnsafe(Math.min(entry.bytes, 1 << 20));
  let sum = 0;
  for (let done = 0; done < entry.bytes; ) {
    const part = chunk.subarray(0, Math.min(chunk.length, entry.bytes - done));
    source.readInto(part, entry.offset + done);
    sum = crc32(part, sum);
    done += part.length;
  }
  if (sum !== entry.crc32) checksumFails(source, entry.name);
}

export function checksumFails(source: FileSource, name: string): never {
  source.damaged(`the bytes of ${quote(name)} do not match their checksum`);
}

/** A name from the file, made harmless for a message. */
export function quote(name: string): string {
  const short = name.length > 120 ? `${name.slice(0, 120)}…` : name;
  return printable(JSON.stringify(short), 1000);
}

interface Directory {
  offset: number;
  bytes: number;
  count: number;
}

function locateDirectory(source: FileSource): Directory {
  const tailStart = Math.max(0, source.size - 22 - 0xffff);
  const tail = source.read(tailStart, source.size - tailStart);
  let at = tail.length - 22;
  while (at >= 0 && !(tail.readUInt32LE(at) === END && at + 22 + tail.readUInt16LE(at + 20) === tail.length)) at--;
  if (at < 0) {
    source.damaged('it starts as a zip file but has no zip directory at its end, so it is cut short');
  }
  let end = tailStart + at;
  let directory = {
    count: tail.readUInt16LE(at + 10),
    bytes: tail.readUInt32LE(at + 12),
    offset: tail.readUInt32LE(at + 16),
  };
  if (end >= 20) {
    const locator = source.read(end - 20, 20);
    if (locator.readUInt32LE(0) === END64_LOCATOR) {
      end = toNumber(source, locator.readBigUInt64LE(8));
      const record = source.read(end, 56);
      if (record.readUInt32LE(0) !== END64) source.damaged('its zip64 directory is not where it should be');
      directory = {
        count: toNumber(source, record.readBigUInt64LE(32)),
        bytes: toNumber(source, record.readBigUInt64LE(40)),
        offset: toNumber(source, record.readBigUInt64LE(48)),
      };
    }
  }
  if (directory.offset + directory.bytes !== end) {
    source.damaged('its zip directory is not where it should be');
  }
  return directory;
}

function listEntries(source: FileSource, budget: Budget, directory: Directory): Listed[] {
  budget.spend(directory.bytes);
  const central = source.read(directory.offset, directory.bytes);
  const listed: Listed[] = [];
  const damaged = (): never => source.damaged('its zip directory contradicts itself');
  let at = 0;
  while (at < central.length) {
    if (at + 46 > central.length || central.readUInt32LE(at) !== CENTRAL) damaged();
    const nameEnd = at + 46 + central.readUInt16LE(at + 28);
    const extraEnd = nameEnd + central.readUInt16LE(at + 30);
    const next = extraEnd + central.readUInt16LE(at + 32);
    if (next > central.length) damaged();
    const rawName = central.subarray(at + 46, nameEnd);
    const name = rawName.toString('utf8');
    budget.spend(ENTRY_COST + 2 * rawName.length);
    checkName(source, name, listed[0]?.name);
    const flags = central.readUInt16LE(at + 8);
    const method = central.readUInt16LE(at + 10);
    if ((flags & 0x2041) !== 0) source.fail(`its zip entry ${quote(name)} is encrypted`, 'Decrypt it first.');
    if (method !== 0) {
      source.fail(
        `its zip entry ${quote(name)} is compressed (${method === 8 ? 'deflate' : `method ${method}`}), which torch.save never does`,
        'Unpack the archive and zip it again without compression (zip -0).',
      );
    }
    const sizes = {
      packed: central.readUInt32LE(at + 20),
      bytes: central.readUInt32LE(at + 24),
      header: central.readUInt32LE(at + 42),
    };
    readZip64(source, central.subarray(nameEnd, extraEnd), sizes);
    if (sizes.packed !== sizes.bytes) damaged();
    if (sizes.header + sizes.bytes > directory.offset) {
      source.damaged(`its zip entry ${quote(name)} reaches past the data`);
    }
    listed.push({ name, rawName, header: sizes.header, bytes: sizes.bytes, crc32: central.readUInt32LE(at + 16) });
    at = next;
  }
  if (listed.length === 0) source.fail('it is a zip file without entries', 'Name the checkpoint itself.');
  if (listed.length !== directory.count) damaged();
  return listed;
}

/** The zip64 extra field holds, in this order, those of the three numbers that the directory has as 0xffffffff. */
function readZip64(source: FileSource, extra: Buffer, sizes: { packed: number; bytes: number; header: number }): void {
  const wanted = (['bytes', 'packed', 'header'] as const).filter((name) => sizes[name] === 0xffffffff);
  if (wanted.length === 0) return;
  for (let at = 0; at + 4 <= extra.length; ) {
    const length = extra.readUInt16LE(at + 2);
    const body = extra.subarray(at + 4, at + 4 + length);
    if (extra.readUInt16LE(at) === 1) {
      if (body.length < 8 * wanted.length) break;
      for (const [index, name] of wanted.entries()) sizes[name] = toNumber(source, body.readBigUInt64LE(8 * index));
      return;
    }
    at += 4 + length;
  }
  source.damaged('its zip64 fields are incomplete');
}

function checkName(source: FileSource, name: string, first: string | undefined): void {
  const segments = name.split('/');
  if (
    name.includes('\\') ||
    name.includes('\0') ||
    segments.includes('..') ||
    segments[0] === '' ||
    segments.length < 2
  ) {
    source.refuse(`its zip entry ${quote(name)} lies outside the archive's folder`);
  }
  if (first !== undefined && segments[0] !== first.split('/')[0]) {
    source.refuse(`its zip entries ${quote(first)} and ${quote(name)} lie in two folders, not in one`);
  }
}

/** The header in front of an entry must agree with the directory; the entry's bytes follow it. */
function dataOffset(source: FileSource, entry: Listed): number {
  const nameLength = entry.rawName.length;
  const header = source.read(entry.header, 30 + nameLength);
  if (
    header.readUInt32LE(0) !== LOCAL ||
    (header.readUInt16LE(6) & 0x2041) !== 0 ||
    header.readUInt16LE(8) !== 0 ||
    header.readUInt16LE(26) !== nameLength ||
    !header.subarray(30).equals(entry.rawName)
  ) {
    source.damaged(`the header of its zip entry ${quote(entry.name)} contradicts the directory`);
  }
  return entry.header + 30 + nameLength + header.readUInt16LE(28);
}

function toNumber(source: FileSource, value: bigint): number {
  if (value > BigInt(source.size)) source.damaged('its zip directory points past its end, so it is cut short');
  return Number(value);
}
