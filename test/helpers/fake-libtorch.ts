// Small stand-ins for what setup deals with: shared libraries, LibTorch folders, zip files, a Python, a temporary folder.
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { ownMachine } from '#blip/libtorch/elf.js';

export function put(path: string, content: string | Uint8Array): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

export interface FakeLibrary {
  needed?: string[];
  rpath?: string;
  runpath?: string;
  machine?: number;
  /** Text that the file holds besides, as symbol names would be. */
  text?: string;
}

/** The bytes of a 64-bit ELF shared library with one loaded segment and a dynamic section: all that a look-up reads. */
export function library({
  needed = [],
  rpath,
  runpath,
  machine = ownMachine ?? 62,
  text = '',
}: FakeLibrary = {}): Buffer {
  const base = 0x1000; // where the segment is loaded, so that addresses and offsets differ
  const strings: string[] = [''];
  const offsetOf = (name: string) => {
    const offset = Buffer.byteLength(strings.join('\0')) + 1;
    strings.push(name);
    return offset;
  };
  const entries: [number, number][] = needed.map((name) => [1, offsetOf(name)]);
  if (rpath !== undefined) entries.push([15, offsetOf(rpath)]);
  if (runpath !== undefined) entries.push([29, offsetOf(runpath)]);
  const table = Buffer.from(`${strings.join('\0')}\0${text}\0`, 'latin1');
  const dynamicOffset = 64 + 2 * 56;
  const dynamic = Buffer.alloc((entries.length + 2) * 16);
  const tableOffset = dynamicOffset + dynamic.length;
  [...entries, [5, base + tableOffset] as const].forEach(([tag, value], index) => {
    dynamic.writeBigInt64LE(BigInt(tag), index * 16);
    dynamic.writeBigUInt64LE(BigInt(value), index * 16 + 8);
  });
  const total = tableOffset + table.length;
  const header = Buffer.alloc(dynamicOffset);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(3, 16);
  header.writeUInt16LE(machine, 18);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(2, 56);
  const segment = (at: number, type: number, offset: number, length: number) => {
    header.writeUInt32LE(type, at);
    header.writeBigUInt64LE(BigInt(offset), at + 8);
    header.writeBigUInt64LE(BigInt(base + offset), at + 16);
    header.writeBigUInt64LE(BigInt(length), at + 32);
  };
  segment(64, 1, 0, total);
  segment(64 + 56, 2, dynamicOffset, dynamic.length);
  return Buffer.concat([header, dynamic, table]);
}

const wheelPath = '$ORIGIN/../../nvidia/nccl/lib:$ORIGIN/../../nvidia/cu13/lib:$ORIGIN';

/** Files of a LibTorch as PyPI's wheels lay it out: path below the common parent, and content. */
export function wheelFiles(version = '2.11.0+cu130', cuda = false): Record<string, Buffer | string> {
  const files: Record<string, Buffer | string> = {
    'torch/version.py': `from typing import Optional\n__version__ = '${version}'\n`,
    'torch/include/ATen/ATen.h': '#pragma once\n',
    'torch/lib/libc10.so': library({ text: '_ZNSt7__cxx1112basic_string', needed: ['libc.so.6'] }),
    'torch/lib/libtorch_cpu.so': library({
      rpath: wheelPath,
      needed: ['libc10.so', 'libgomp.so.1', 'libcudart.so.13'],
    }),
    'torch/lib/libgomp.so.1': library(),
    'nvidia/cu13/lib/libcudart.so.13': library(),
  };
  if (cuda) {
    files['torch/lib/libtorch_cuda.so'] = library({ rpath: wheelPath, needed: ['libtorch_cpu.so', 'libnccl.so.2'] });
    files['nvidia/nccl/lib/libnccl.so.2'] = library();
  }
  return files;
}

/** Writes the files below `parent` and returns the torch folder; `without` leaves some out. */
export function fakeTorch(
  parent: string,
  options: { version?: string; cuda?: boolean; without?: string[] } = {},
): string {
  for (const [name, content] of Object.entries(wheelFiles(options.version, options.cuda))) {
    if (!options.without?.includes(name)) put(join(parent, name), content);
  }
  return join(parent, 'torch');
}

export interface ZipEntry {
  name: string;
  content: Buffer | string;
  /** Unix mode with the file type, as in `st_mode`. */
  mode?: number;
  /** A checksum that is not the content's. */
  crc?: number;
}

/** The bytes of a zip file that stores its entries uncompressed. */
export function zip(entries: ZipEntry[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content, mode = 0o100644, crc } of entries) {
    const data = Buffer.from(content);
    const title = Buffer.from(name);
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt32LE(crc ?? crc32(data), 10);
    fields.writeUInt32LE(data.length, 14);
    fields.writeUInt32LE(data.length, 18);
    fields.writeUInt16LE(title.length, 22);
    parts.push(Buffer.from('PK\x03\x04', 'latin1'), fields, title, data);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(mode * 0x10000, 6);
    rest.writeUInt32LE(offset, 10);
    directory.push(Buffer.from('PK\x01\x02\x14\x03', 'latin1'), fields, rest, title);
    offset += 30 + title.length + data.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, central, end]);
}

/** A zip of a LibTorch laid out as the official one, all libraries side by side, and `padding` bytes more. */
export function libtorchZip(version = '2.11.0+cpu', padding = 0): Buffer {
  const own = '$ORIGIN';
  const entries: Record<string, Buffer | string> = {
    'libtorch/build-version': `${version}\n`,
    'libtorch/include/ATen/ATen.h': '#pragma once\n',
    'libtorch/lib/libc10.so': library({ text: '_ZNSt7__cxx1112basic_string' }),
    'libtorch/lib/libtorch_cpu.so': library({ runpath: own, needed: ['libc10.so', 'libgomp-52f2fd74.so.1'] }),
    'libtorch/lib/libgomp-52f2fd74.so.1': library(),
    'libtorch/lib/libprotobuf.a': 'a static library, of no use here',
    'libtorch/share/padding': Buffer.alloc(padding, 'x'),
    'libtorch/bin/protoc': 'a program, of no use here',
  };
  return zip(Object.entries(entries).map(([name, content]) => ({ name, content })));
}

/**
 * Puts an executable `python3` into `folder`. It answers as Python would: where its torch is ($FAKE_TORCH, none if
 * empty) with $FAKE_SITE as its package folder, and `-m pip` if $FAKE_INDEX names a folder of wheels, which
 * `pip download` copies from. Each call adds a line to $FAKE_LOG.
 */
export function fakePython(folder: string, name = 'python3'): string {
  const program = `#!${process.execPath}
const fs = require('node:fs');
const args = process.argv.slice(2);
const { FAKE_TORCH, FAKE_SITE, FAKE_INDEX, FAKE_LOG, FAKE_FAILS } = process.env;
const log = (line) => FAKE_LOG && fs.appendFileSync(FAKE_LOG, line + '\\n');
if (args[0] === '-c') {
  log('asked');
  console.log('a line of a talkative sitecustomize');
  console.log(JSON.stringify({ version: '3.11.7', path: [FAKE_SITE ?? '/nonexistent'], torch: FAKE_TORCH || null }));
} else if (args[1] === 'pip' && args[2] === '--version') {
  process.exit(FAKE_INDEX ? 0 : 1);
} else if (args[1] === 'pip' && args[2] === 'download') {
  const requirement = fs.readFileSync(args[args.indexOf('-r') + 1], 'utf8').split(' ')[0];
  log('download ' + requirement);
  if (FAKE_FAILS === requirement) {
    console.error('WARNING: Retrying\\nERROR: No matching distribution found for ' + requirement);
    process.exit(1);
  }
  const file = requirement.replace('==', '-').replace(/-(?!\\d)/g, '_') + '-py3-none-any.whl';
  fs.copyFileSync(FAKE_INDEX + '/' + file, args[args.indexOf('--dest') + 1] + '/' + file);
}
`;
  const path = put(join(folder, name), program);
  chmodSync(path, 0o755);
  return path;
}
