// Writes a checkpoint that Python's torch.load(weights_only=True) reads, maps included.
import { createHash } from 'node:crypto';
import { basename, extname } from 'node:path';
import { writeFileAtomically } from '../../../disk/atomic-file.js';
import { counted } from '../../../logging/text.js';
import { pickle, type WritableValue } from './pickler.js';
import { ZipWriter } from './zip.js';

export interface WriteCheckpointOptions {
  /** Write the fields for files over 4 GiB even where they are not needed (for tests). */
  alwaysZip64?: boolean;
}

/**
 * Writes `value` to `path` in the zip format of torch.save: tensors aligned to 64 bytes, with checksums. The file is
 * complete or absent (writeFileAtomically). Throws a UserError when it cannot be written, a TypeError for a value that
 * a checkpoint cannot hold.
 */
export async function writeCheckpoint(
  path: string,
  value: WritableValue,
  options: WriteCheckpointOptions = {},
): Promise<void> {
  const { bytes, storages } = pickle(value);
  await writeFileAtomically(path, async (file) => {
    const zip = new ZipWriter(file, folderName(path), options.alwaysZip64);
    const identity = createHash('sha256');
    const add = async (name: string, content: Uint8Array) => {
      identity.update(`${name} ${await zip.add(name, content)}\n`);
    };
    await add('data.pkl', bytes);
    await add('byteorder', Buffer.from('little'));
    for (const [key, storage] of storages.entries()) {
      const content = typeof storage.data === 'function' ? storage.data() : storage.data;
      if (content.length !== storage.bytes) {
        throw new TypeError(`The data of storage ${key} has ${counted(content.length, 'byte')}, not ${storage.bytes}.`);
      }
      await add(`data/${key}`, content);
    }
    await add('version', Buffer.from('3\n'));
    // PyTorch writes 40 digits that depend on the content; only people who compare files read them.
    const digits = BigInt(`0x${identity.digest('hex')}`)
      .toString()
      .padStart(40, '0')
      .slice(-40);
    await zip.add('.data/serialization_id', Buffer.from(digits));
    await zip.finish();
  });
}

/** PyTorch names the folder inside the zip after the file. */
function folderName(path: string): string {
  const name = basename(path, extname(path));
  return /^[\w-][\w.-]*$/.test(name) ? name : 'archive';
}
