// The format before torch 1.6: five pickles in a row (magic number, version, system, object, keys), then the storages.
import { kindOf } from '../../../errors.js';
import { counted } from '../../../logging/text.js';
import { DTYPES } from '../../dtype.js';
import { Budget, type FileSource, ForwardReader } from '../../file-source.js';
import type { Checkpoint, PickleValue } from '../types.js';
import { TensorRebuild } from './tensors.js';
import { unpickle } from './unpickler.js';
import { quote } from './zip.js';

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
export const BIG_ENDIAN = 'it was saved on a big-endian machine, which is not supported';

export function readLegacy(source: FileSource): Checkpoint {
  const budget = Budget.of(source);
  const rebuild = new TensorRebuild(source, budget, () => ({ fileOffset: 0 }));
  const reader = new ForwardReader(source, 0, source.size, 'the pickle');
  if (unpickle(reader, rebuild) !== MAGIC) {
    source.fail('it is a bare pickle, not a file of torch.save', 'Save it again with torch.save.');
  }
  const protocol = unpickle(reader, rebuild);
  if (protocol !== PROTOCOL)
    source.fail(`its legacy version is ${kindOf(protocol)}, not ${PROTOCOL}`, 'Save it again with a newer PyTorch.');
  const system = unpickle(reader, rebuild);
  if (!(system instanceof Map) || system.get('little_endian') !== true) {
    source.fail(BIG_ENDIAN, 'Save it again on a little-endian one.');
  }
  const root = unpickle(reader, rebuild);
  const keys = unpickle(reader, rebuild);
  placeStorages(source, rebuild, keys, reader.position);
  rebuild.setOffsets();
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
  if (!Array.isArray(keys)) source.damaged('its list of storages is missing');
  const open = new Map(rebuild.storages);
  let at = start;
  for (const key of keys) {
    const storage = typeof key === 'string' ? open.get(key) : undefined;
    if (storage === undefined) source.damaged('its list of storages names one that no tensor has');
    if (at + 8 > source.size) source.damaged(`it ends before its storage ${quote(storage.key)}`);
    const elements = source.read(at, 8).readBigInt64LE(0);
    if (elements * BigInt(DTYPES[storage.dtype].bytes) !== BigInt(storage.bytes)) {
      source.damaged(`its storage ${quote(storage.key)} has another size than its tensors expect`);
    }
    storage.fileOffset = at + 8;
    at += 8 + storage.bytes;
    if (at > source.size) {
      source.damaged(
        `it ends ${counted(at - source.size, 'byte')} before the end of its storage ${quote(storage.key)}`,
      );
    }
    open.delete(storage.key);
  }
  for (const key of open.keys()) source.damaged(`the bytes of its storage ${quote(key)} are missing`);
}
