// The format before torch 1.6: five pickles in a row (magic number, version, system, object, keys), then the storages.
import { DTYPES } from '../../dtype.js';
import { Budget, type FileSource, ForwardReader } from '../../file-source.js';
import type { Checkpoint, PickleValue } from '../types.js';
import { TensorRebuild } from './tensors.js';
import { unpickle } from './unpickler.js';
import { quote } from './zip.js';

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;

export function readLegacy(source: FileSource): Checkpoint {
  const budget = Budget.of(source);
  const rebuild = new TensorRebuild(source, budget, () => ({ fileOffset: 0 }));
  const reader = new ForwardReader(source, 0, source.size, 'the pickle');
  if (unpickle(reader, rebuild) !== MAGIC) {
    source.fail('it is a bare pickle, not a file of torch.save: save it again with torch.save');
  }
  const protocol = unpickle(reader, rebuild);
  if (protocol !== PROTOCOL)
    source.fail(`it is of torch.save's legacy version ${show(protocol)}; only ${PROTOCOL} is known`);
  const system = unpickle(reader, rebuild);
  if (!(system instanceof Map) || system.get('little_endian') !== true) {
    source.fail('it was saved on a big-endian machine, which this program does not read: save it again on a usual one');
  }
  const root = unpickle(reader, rebuild);
  const keys = unpickle(reader, rebuild);
  placeStorages(source, rebuild, keys, reader.position);
  rebuild.settle();
  return {
    path: source.path,
    format: 'legacy',
    root,
    storages: [...rebuild.storages.values()],
    bytes: source.size,
    verified: true,
  };
}

/** Walks the storages at the file's end: for each key a count of elements (int64), then the bytes. */
function placeStorages(source: FileSource, rebuild: TensorRebuild, keys: PickleValue, start: number): void {
  if (!Array.isArray(keys)) source.fail('its list of storages is missing: the file is cut or damaged, get it again');
  const open = new Map(rebuild.storages);
  let at = start;
  for (const key of keys) {
    const storage = typeof key === 'string' ? open.get(key) : undefined;
    if (storage === undefined) source.fail('its list of storages names one that no tensor has: get it again');
    if (at + 8 > source.size)
      source.fail(`it ends before its storage ${quote(storage.key)}: it is cut short, get it again`);
    const elements = source.read(at, 8).readBigInt64LE(0);
    if (elements * BigInt(DTYPES[storage.dtype].bytes) !== BigInt(storage.bytes)) {
      source.fail(`its storage ${quote(storage.key)} is not of the size that its tensors expect: get the file again`);
    }
    storage.fileOffset = at + 8;
    at += 8 + storage.bytes;
    if (at > source.size) {
      source.fail(
        `it ends ${at - source.size} bytes before the end of its storage ${quote(storage.key)}: get it again`,
      );
    }
    open.delete(storage.key);
  }
  for (const key of open.keys()) source.fail(`the bytes of its storage ${quote(key)} are missing: get the file again`);
}

function show(value: PickleValue): string {
  return typeof value === 'object' && value !== null ? 'of no number' : String(value).slice(0, 40);
}
