// Writes a zip file of stored entries, aligned to 64 bytes with checksums in the headers: what torch.load expects to map.
import { crc32 } from 'node:zlib';
import type { AtomicFile } from '../../../disk/atomic-file.js';

const ALIGNMENT = 64;
const LIMIT32 = 0xffffffff;
const LIMIT16 = 0xffff;
/** Extra field that PyTorch pads with, and its filling. */
const PADDING_ID = 0x4246;
const PADDING = 'Z';
const CRC_CHUNK = 1 << 26;

interface Written {
  name: Buffer;
  header: number;
  bytes: number;
  crc32: number;
}

export class ZipWriter {
  readonly #written: Written[] = [];

  /** `alwaysZip64` writes the large-file fields even where they are not needed (for tests). */
  constructor(
    readonly file: AtomicFile,
    readonly folder: string,
    readonly alwaysZip64 = false,
  ) {}

  /** Appends the entry `folder/name`. Gives its checksum. */
  async add(name: string, bytes: Uint8Array): Promise<number> {
    const entry = {
      name: Buffer.from(`${this.folder}/${name}`),
      header: this.file.position,
      bytes: bytes.length,
      crc32: checksum(bytes),
    };
    const zip64 = this.alwaysZip64 || entry.bytes >= LIMIT32;
    const sizes = zip64 ? zip64Field([entry.bytes, entry.bytes]) : Buffer.alloc(0);
    const unpadded = entry.header + 30 + entry.name.length + sizes.length + 4;
    const padding = Buffer.alloc(4 + ((ALIGNMENT - (unpadded % ALIGNMENT)) % ALIGNMENT), PADDING);
    padding.writeUInt16LE(PADDING_ID, 0);
    padding.writeUInt16LE(padding.length - 4, 2);
    const header = Buffer.alloc(30);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt16LE(zip64 ? 45 : 20, 4);
    header.writeUInt16LE(0x0800, 6); // names are UTF-8
    header.writeUInt16LE(0x21, 12); // 1 January 1980, the zero of zip's calendar
    header.writeUInt32LE(entry.crc32, 14);
    header.writeUInt32LE(zip64 ? LIMIT32 : entry.bytes, 18);
    header.writeUInt32LE(zip64 ? LIMIT32 : entry.bytes, 22);
    header.writeUInt16LE(entry.name.length, 26);
    header.writeUInt16LE(sizes.length + padding.length, 28);
    for (const part of [header, entry.name, sizes, padding, bytes]) await this.file.write(part);
    this.#written.push(entry);
    return entry.crc32;
  }

  /** Appends the directory: the file is complete. */
  async finish(): Promise<void> {
    const start = this.file.position;
    for (const entry of this.#written) await this.#writeDirectoryEntry(entry);
    const bytes = this.file.position - start;
    const count = this.#written.length;
    if (this.alwaysZip64 || start >= LIMIT32 || bytes >= LIMIT32 || count >= LIMIT16) {
      await this.#writeZip64End(start, bytes, count);
    }
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt16LE(Math.min(count, LIMIT16), 8);
    end.writeUInt16LE(Math.min(count, LIMIT16), 10);
    end.writeUInt32LE(Math.min(bytes, LIMIT32), 12);
    end.writeUInt32LE(Math.min(start, LIMIT32), 16);
    await this.file.write(end);
  }

  async #writeDirectoryEntry(entry: Written): Promise<void> {
    const large = this.alwaysZip64 || entry.bytes >= LIMIT32;
    const far = this.alwaysZip64 || entry.header >= LIMIT32;
    const numbers = [...(large ? [entry.bytes, entry.bytes] : []), ...(far ? [entry.header] : [])];
    const extra = numbers.length > 0 ? zip64Field(numbers) : Buffer.alloc(0);
    const header = Buffer.alloc(46);
    header.writeUInt32LE(0x02014b50, 0);
    header.writeUInt16LE(45, 4);
    header.writeUInt16LE(extra.length > 0 ? 45 : 20, 6);
    header.writeUInt16LE(0x0800, 8);
    header.writeUInt16LE(0x21, 14);
    header.writeUInt32LE(entry.crc32, 16);
    header.writeUInt32LE(large ? LIMIT32 : entry.bytes, 20);
    header.writeUInt32LE(large ? LIMIT32 : entry.bytes, 24);
    header.writeUInt16LE(entry.name.length, 28);
    header.writeUInt16LE(extra.length, 30);
    header.writeUInt32LE(far ? LIMIT32 : entry.header, 42);
    for (const part of [header, entry.name, extra]) await this.file.write(part);
  }

  async #writeZip64End(start: number, bytes: number, count: number): Promise<void> {
    const at = this.file.position;
    const record = Buffer.alloc(56);
    record.writeUInt32LE(0x06064b50, 0);
    record.writeBigUInt64LE(44n, 4);
    record.writeUInt16LE(45, 12);
    record.writeUInt16LE(45, 14);
    record.writeBigUInt64LE(BigInt(count), 24);
    record.writeBigUInt64LE(BigInt(count), 32);
    record.writeBigUInt64LE(BigInt(bytes), 40);
    record.writeBigUInt64LE(BigInt(start), 48);
    const locator = Buffer.alloc(20);
    locator.writeUInt32LE(0x07064b50, 0);
    locator.writeBigUInt64LE(BigInt(at), 8);
    locator.writeUInt32LE(1, 16);
    await this.file.write(record);
    await this.file.write(locator);
  }
}

function zip64Field(numbers: number[]): Buffer {
  const field = Buffer.alloc(4 + 8 * numbers.length);
  field.writeUInt16LE(1, 0);
  field.writeUInt16LE(8 * numbers.length, 2);
  for (const [index, number] of numbers.entries()) field.writeBigUInt64LE(BigInt(number), 4 + 8 * index);
  return field;
}

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += CRC_CHUNK) sum = crc32(bytes.subarray(at, at + CRC_CHUNK), sum);
  return sum;
}
