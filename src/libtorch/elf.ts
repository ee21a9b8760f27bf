// Which shared libraries an ELF file needs, and which of them the dynamic linker would not find: a dlopen foretold.
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** What the dynamic section of a shared library says. `inherits`: DT_RPATH, which also serves the libraries it loads. */
export interface DynamicSection {
  machine: number;
  needed: string[];
  searchPath: string[];
  inherits: boolean;
}

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT_NEEDED = 1;
const DT_STRTAB = 5;
const DT_RPATH = 15;
const DT_RUNPATH = 29;

/** `e_machine` of this process, or undefined for an architecture that LibTorch does not come in. */
export const ownMachine = process.arch === 'x64' ? 62 : process.arch === 'arm64' ? 183 : undefined;

function readAt(fd: number, offset: number, length: number): Buffer {
  // Offsets come from the file, which may be damaged: an impossible one reads as the file's end.
  if (!Number.isSafeInteger(offset) || offset < 0) return Buffer.alloc(0);
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(fd, buffer, 0, length, offset));
}

function readString(fd: number, offset: number): string {
  const bytes = readAt(fd, offset, 4096);
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
}

/** The dynamic section of a 64-bit little-endian ELF file; undefined for anything else (absent, cut short, no ELF). */
export function readDynamic(path: string): DynamicSection | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const size = fstatSync(fd).size;
    const header = readAt(fd, 0, 64);
    if (header.length < 64 || header.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') return undefined;
    const tableOffset = Number(header.readBigUInt64LE(32));
    const entrySize = header.readUInt16LE(54);
    const table = readAt(fd, tableOffset, entrySize * header.readUInt16LE(56));
    const segments: { type: number; offset: number; address: number; length: number }[] = [];
    for (let at = 0; entrySize >= 56 && at + entrySize <= table.length; at += entrySize) {
      segments.push({
        type: table.readUInt32LE(at),
        offset: Number(table.readBigUInt64LE(at + 8)),
        address: Number(table.readBigUInt64LE(at + 16)),
        length: Number(table.readBigUInt64LE(at + 32)),
      });
    }
    const dynamic = segments.find((segment) => segment.type === PT_DYNAMIC);
    if (!dynamic || dynamic.offset + dynamic.length > size) return undefined;
    // A library that a broken download cut short has its first pages, and loading it is a SIGBUS: the length tells.
    if (segments.some((s) => s.type === PT_LOAD && s.offset + s.length > size)) return undefined;
    const entries = readAt(fd, dynamic.offset, dynamic.length);
    const pairs: [tag: number, value: number][] = [];
    for (let at = 0; at + 16 <= entries.length; at += 16) {
      pairs.push([Number(entries.readBigInt64LE(at)), Number(entries.readBigUInt64LE(at + 8))]);
    }
    const stringTable = pairs.find(([tag]) => tag === DT_STRTAB);
    if (!stringTable) return undefined;
    const [, address] = stringTable;
    const home = segments.find((s) => s.type === PT_LOAD && address >= s.address && address < s.address + s.length);
    if (!home) return undefined;
    const strings = home.offset + address - home.address;
    const texts = (wanted: number) =>
      pairs.filter(([tag]) => tag === wanted).map(([, value]) => readString(fd, strings + value));
    const runpath = texts(DT_RUNPATH);
    const paths = (runpath.length > 0 ? runpath : texts(DT_RPATH)).join(':').split(':').filter(Boolean);
    return {
      machine: header.readUInt16LE(18),
      needed: texts(DT_NEEDED),
      searchPath: paths.map((p) => p.replace(/\$ORIGIN|\$\{ORIGIN\}/g, dirname(path))),
      inherits: runpath.length === 0,
    };
  } finally {
    closeSync(fd);
  }
}

let linkerCache: Buffer | undefined;

/** Whether ldconfig's cache or a standard folder has the library; in the cache, names stand between zero bytes. */
export function systemHas(name: string): boolean {
  try {
    linkerCache ??= readFileSync('/etc/ld.so.cache');
  } catch {
    linkerCache = Buffer.alloc(0);
  }
  if (linkerCache.includes(`\0${name}\0`, 0, 'latin1')) return true;
  const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  const folders = ['/lib64', '/usr/lib64', `/lib/${triplet}`, `/usr/lib/${triplet}`, '/lib', '/usr/lib'];
  return folders.some((folder) => existsSync(join(folder, name)));
}

/**
 * Names of the libraries that opening `path` would miss, in the order in which they are needed, each once. Looks where the
 * dynamic linker does: the file's search path, those it inherits, LD_LIBRARY_PATH, the system.
 */
export function unresolvedLibraries(path: string, env: NodeJS.ProcessEnv = process.env): string[] {
  const missing = new Set<string>();
  const seen = new Set<string>();
  const extra = env.LD_LIBRARY_PATH?.split(':').filter(Boolean) ?? [];
  const visit = (file: string, inherited: string[]): void => {
    const dynamic = readDynamic(file);
    if (!dynamic) return;
    // A library that has a RUNPATH ignores what it could inherit, and passes nothing on.
    const own = dynamic.inherits ? [...dynamic.searchPath, ...inherited] : dynamic.searchPath;
    for (const name of dynamic.needed) {
      if (seen.has(name)) continue;
      seen.add(name);
      const folder = [...own, ...extra].find((candidate) => existsSync(join(candidate, name)));
      if (folder !== undefined) visit(join(folder, name), dynamic.inherits ? own : []);
      else if (!systemHas(name)) missing.add(name);
    }
  };
  visit(path, []);
  return [...missing];
}
