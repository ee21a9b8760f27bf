// The SHA-256 of a file.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { messageOf, UserError } from '../errors.js';

/** Hexadecimal SHA-256 of a file. @throws UserError where it cannot be read */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${messageOf(error)}.`, { cause: error });
  }
  return hash.digest('hex');
}
