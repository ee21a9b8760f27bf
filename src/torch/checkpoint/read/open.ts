// Opens a checkpoint of torch.save, zip or legacy, or of safetensors, without running anything in it or reading its tensors.
import { randomUUID } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { bootId } from '../../../disk/process-identity.js';
import { at, messageOf, UserError } from '../../../errors.js';
import { counted } from '../../../logging/text.js';
import { DTYPES } from '../../dtype.js';
import { Budget, cannotOpen, FileSource, ForwardReader, withSource } from '../../file-source.js';
import { readEntries } from '../../safetensors.js';
import type { Checkpoint, StorageRef, TensorRef } from '../types.js';
import { compareAll, threadsFor } from './compare.js';
import { BIG_ENDIAN, readLegacy } from './legacy.js';
import { TensorRebuild } from './tensors.js';
import { unpickle } from './unpickler.js';
import { checkEntry, checksumFails, quote, readZip, type ZipArchive } from './zip.js';

/** Up to this size a whole file is compared with its checksums on opening: it takes about 20 ms. */
const VERIFY_UP_TO = 64 * 1024 * 1024;

/**
 * Reads how the file `path` describes itself: the zip directory and the pickle (or a legacy file's pickles), but no tensor
 * bytes. So 1.8 GB open as fast as 1.8 MB, and can be mapped afterwards at each tensor's `byteOffset`. Nothing in the
 * pickle is run; a name in it means what globals.ts says, or stands for itself. Memory stays below the file's size plus 64 MiB
 * whatever the file holds.
 *
 * Checksums: the pickle's is always compared. Those of the storages are compared here in files of up to 64 MiB; beyond
 * that `verified` is false, and verifyStorages compares them (about 6 GB/s from the page cache). Legacy files have none, nor
 * do safetensors and files written with set_crc32_options(False).
 *
 * Throws a UserError that names the file for anything that neither torch.save nor safetensors writes, or that this program
 * does not support.
 */
export function openCheckpoint(path: string): Checkpoint {
  return withSource(path, (source) => {
    switch (sniff(source)) {
      case 'zip':
        return readZipCheckpoint(source);
      case 'pickle':
        return readLegacy(source);
      case 'safetensors':
        return readSafetensorsCheckpoint(source);
    }
  });
}

/** Ranks of which those that open the same file share the work: the part of `Ranks` that it needs. */
export interface Sharers {
  readonly rank: number;
  gatherValues<T>(value: T): T[];
}

/**
 * Compares the bytes of all storages with their checksums, reading them once, in several threads where there are enough
 * bytes and cores. Does nothing when that was done. With `sharers`, all of which must call, the ranks that have the same
 * file open each compare a part, and all throw what one finds.
 */
export async function verifyStorages(checkpoint: Checkpoint, sharers?: Sharers): Promise<void> {
  if (checkpoint.verified && sharers === undefined) return;
  const file = await open(checkpoint.path, 'r').catch((error: unknown) => {
    throw cannotOpen(checkpoint.path, error);
  });
  const source = new FileSource(checkpoint.path, file.fd, checkpoint.bytes);
  const summed = (storages: readonly StorageRef[]) =>
    storages.flatMap((storage) => (storage.crc32 === undefined ? [] : [{ ...storage, crc32: storage.crc32 }]));
  const compare = async (storages: readonly StorageRef[], ranks: number): Promise<void> => {
    const wanted = summed(storages);
    const bytes = wanted.reduce((sum, storage) => sum + storage.bytes, 0);
    const found = await compareAll(file, wanted, threadsFor(bytes, ranks));
    if (found?.outcome === 'short') source.damaged('it became shorter while it was read');
    if (found !== undefined) checksumFails(source, `data/${found.storage.key}`);
  };
  try {
    if (sharers === undefined) await compare(checkpoint.storages, 1);
    // Ranks of another machine may have another file, which was compared on opening: all exchange what there is to exchange.
    else await compareTogether(checkpoint.verified ? [] : checkpoint.storages, await sameFile(file), sharers, compare);
  } finally {
    await file.close();
  }
}

/** Equal for processes that have the same file open: on the same machine, as it runs, and unchanged. */
async function sameFile(file: FileHandle): Promise<string> {
  const { dev, ino, size, mtimeNs } = await file.stat({ bigint: true });
  return [bootId() || randomUUID(), dev, ino, size, mtimeNs].join(' ');
}

/** @throws UserError on all ranks where one finds something; where several do, what the first of them found */
async function compareTogether(
  storages: readonly StorageRef[],
  file: string,
  sharers: Sharers,
  compare: (storages: readonly StorageRef[], ranks: number) => Promise<void>,
): Promise<void> {
  const same = sharers.gatherValues(file).flatMap((other, r) => (other === file ? [r] : []));
  let failure: unknown;
  const part = storages.filter((_, i) => i % same.length === same.indexOf(sharers.rank));
  await compare(part, same.length).catch((error: unknown) => {
    failure = error;
  });
  const said = sharers.gatherValues(failure === undefined ? null : messageOf(failure));
  if (failure !== undefined) throw failure;
  const found = same.map((r) => said[r]).find((sentence) => typeof sentence === 'string');
  if (typeof found === 'string') throw new UserError(found);
}

/** What the first bytes say; a file that is something else gets a sentence of its own. */
function sniff(source: FileSource): 'zip' | 'pickle' | 'safetensors' {
  if (source.size === 0) source.fail('it is empty', 'Get the checkpoint again.');
  const head = source.read(0, Math.min(source.size, 512));
  if (head.length >= 4 && head.readUInt32LE(0) === 0x04034b50) return 'zip';
  const text = head.toString('latin1').trimStart().toLowerCase();
  if (text.startsWith('<!doctype') || text.startsWith('<html') || text.startsWith('<?xml')) {
    source.fail('it is a web page, perhaps an error message saved under this name', 'Download the checkpoint again.');
  }
  if (text.startsWith('version https://git-lfs')) {
    source.fail('it is a Git LFS pointer, not the checkpoint itself', 'Run git lfs pull.');
  }
  if (text.startsWith('{') && text.includes('"weight_map"')) {
    const remedy = 'Take a repository with one file of weights, or join the parts with transformers.';
    source.fail('it is the index of weights in several files, which are not joined here', remedy);
  }
  if (head.length >= 9 && head[8] === 0x7b) return 'safetensors';
  if (head[0] === 0x1f && head[1] === 0x8b) source.fail('it is compressed by gzip', 'Unpack it first (gunzip).');
  if (head.length >= 265 && head.subarray(257, 262).toString('latin1') === 'ustar') {
    source.fail('it is a tar file: a packed checkpoint, or one of torch before 0.1.10', 'Unpack it or save it again.');
  }
  if (head[0] === 0x80 && head[1] !== undefined && head[1] >= 2 && head[1] <= 5) return 'pickle';
  return source.fail('it is not a checkpoint: neither a file of torch.save nor safetensors', 'Name another file.');
}

/** The root is the state dict, as in a file of torch.save(model.state_dict()); the format has no checksums. */
function readSafetensorsCheckpoint(source: FileSource): Checkpoint {
  const { entries, metadata } = readEntries(source);
  const storages: StorageRef[] = [];
  const root = new Map<string, TensorRef>();
  for (const [name, { dtype, shape, start, bytes }] of entries) {
    storages.push({ kind: 'storage', key: name, dtype, bytes, fileOffset: start });
    root.set(name, {
      kind: 'tensor',
      dtype,
      shape,
      stride: contiguous(shape),
      storageOffset: 0,
      fileOffset: start,
      storageBytes: bytes,
      requiresGrad: false,
    });
  }
  return { path: source.path, format: 'safetensors', root, metadata, storages, bytes: source.size, verified: true };
}

/** Strides of a row-major tensor, as PyTorch counts them: of sizes 0 and 1 alike. */
function contiguous(shape: readonly number[]): number[] {
  const stride = new Array<number>(shape.length);
  let step = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    stride[d] = step;
    step *= Math.max(1, at(shape, d));
  }
  return stride;
}

function readZipCheckpoint(source: FileSource): Checkpoint {
  const budget = Budget.of(source);
  const archive = readZip(source, budget);
  const pickle = archive.entries.get('data.pkl');
  if (pickle === undefined) {
    return source.fail('it is a zip file without data.pkl, so not one of torch.save', 'Name the checkpoint itself.');
  }
  if (archive.entries.has('constants.pkl')) {
    source.fail('it is a TorchScript program, not a checkpoint', 'Save its state_dict() with torch.save.');
  }
  checkByteOrder(source, archive);
  const verified = source.size <= VERIFY_UP_TO || !archive.hasChecksums;
  if (archive.hasChecksums) {
    for (const entry of archive.entries.values()) {
      if (verified || !entry.name.includes('/data/')) checkEntry(source, entry);
    }
  }
  const rebuild = new TensorRebuild(source, budget, (id, bytes) => {
    const entry = archive.entries.get(`data/${id.key}`);
    if (entry === undefined) {
      return source.damaged(`its storage ${quote(`data/${id.key}`)} is missing`);
    }
    // The size need not be a multiple of the element's: a storage of 5 bytes can hold 2 elements of int16.
    if (entry.bytes < bytes || entry.bytes >= bytes + DTYPES[id.dtype].bytes) {
      const name = quote(`data/${id.key}`);
      source.damaged(`its storage ${name} has ${counted(entry.bytes, 'byte')} where its tensors expect ${bytes}`);
    }
    return { fileOffset: entry.offset, ...(archive.hasChecksums ? { crc32: entry.crc32 } : {}) };
  });
  const reader = new ForwardReader(source, pickle.offset, pickle.offset + pickle.bytes, 'the pickle');
  const root = unpickle(reader, rebuild);
  const extra = reader.end - reader.position;
  if (extra > 0) source.refuse(`the pickle has ${counted(extra, 'byte')} after its end`);
  rebuild.setOffsets();
  const storages = [...rebuild.storages.values()];
  return { path: source.path, format: 'zip', root, storages, bytes: source.size, verified };
}

/** Files before torch 2.1 have no such record: all of them are little-endian. */
function checkByteOrder(source: FileSource, archive: ZipArchive): void {
  const entry = archive.entries.get('byteorder');
  if (entry === undefined) return;
  const order = entry.bytes <= 16 ? source.read(entry.offset, entry.bytes).toString('latin1') : '';
  if (order === 'big') {
    source.fail(BIG_ENDIAN, 'Save it again on a little-endian one.');
  }
  if (order !== 'little') source.damaged('its byteorder record is neither "little" nor "big"');
}
