// Unpacks chosen entries of a zip file or wheel into a folder, none outside it, each checked against its CRC.
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import { type Entry, openPromise } from 'yauzl';
import { cannotWrite } from '../disk/cannot-write.js';
import { codeOf, messageOf, UserError } from '../errors.js';

const fileTypeMask = 0o170000;
const symbolicLink = 0o120000;

/** Passes bytes on and fails at the end if their CRC is not the entry's (the zip reader compares sizes only). */
function checksum(entry: Entry): Transform {
  let crc = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      crc = crc32(chunk, crc);
      done(null, chunk);
    },
    flush(done) {
      done(crc === entry.crc32 ? null : new Error(`checksum of ${entry.fileName} does not match`));
    },
  });
}

/** Total size in bytes of the entries that `keep` accepts, unpacked. */
export async function unpackedSize(archive: string, keep: (name: string) => boolean): Promise<number> {
  const zip = await open(archive);
  let total = 0;
  for await (const entry of zip.eachEntry()) if (keep(entry.fileName)) total += entry.uncompressedSize;
  return total;
}

async function open(archive: string) {
  try {
    return await openPromise(archive);
  } catch (error) {
    throw new UserError(`${archive} is not a zip archive (${messageOf(error)}). Remove it and run setup again.`);
  }
}

/**
 * Unpacks the entries of `archive` that `keep` accepts under `folder`, and returns how many. Names that would leave
 * the folder, and symbolic links, are refused.
 * @throws UserError naming the archive and the entry
 */
export async function unpack(
  archive: string,
  folder: string,
  keep: (name: string) => boolean,
  signal?: AbortSignal,
): Promise<number> {
  const zip = await open(archive);
  let count = 0;
  let name = '';
  try {
    for await (const entry of zip.eachEntry()) {
      signal?.throwIfAborted();
      name = entry.fileName;
      if (name.endsWith('/') || !keep(name)) continue;
      const target = join(folder, name);
      if (!target.startsWith(folder + sep)) throw new Error('its name leads out of the folder');
      if (((entry.externalFileAttributes >>> 16) & fileTypeMask) === symbolicLink) throw new Error('it is a link');
      await mkdir(dirname(target), { recursive: true });
      await pipeline(await zip.openReadStreamPromise(entry), checksum(entry), createWriteStream(target), { signal });
      count++;
    }
  } catch (error) {
    if (signal?.aborted) throw error;
    if (codeOf(error) === 'ENOSPC') throw cannotWrite(folder, error);
    const where = name === '' ? archive : `${name} in ${archive}`;
    throw new UserError(`${where} cannot be unpacked: ${messageOf(error)}. Remove the archive and run setup again.`, {
      cause: error,
    });
  } finally {
    zip.close();
  }
  return count;
}
