// Images as rows of a table, and features as pgvector's bytes: to the bit what the model gave.
import { at, kindOf, UserError } from '../../errors.js';
import type { EmbeddedImage, IndexedImage } from '../store.js';

/** What `get` and `images` read. */
export const IMAGE_COLUMNS = 'id, path, size::float8 AS size, modified, digest';

export type ImageRow = {
  id: string;
  path: string | null;
  size: number | null;
  modified: number | null;
  digest: string;
};

export function imageOf({ id, path, size, modified, digest }: ImageRow): IndexedImage {
  return { id, digest, path: path ?? undefined, size: size ?? undefined, modified: modified ?? undefined };
}

export const COLUMNS = ['id', 'path', 'size', 'modified', 'digest', 'feature', 'tokens'] as const;

/** Of one image, in the order of COLUMNS. */
export function valuesOf({ id, path, size, modified, digest, feature, tokens }: EmbeddedImage): unknown[] {
  const bytes = tokens === undefined ? null : Buffer.from(tokens.buffer, tokens.byteOffset, tokens.byteLength);
  return [id, path, size, modified, digest, vectorBytes(feature), bytes];
}

/** What pgvector's vector_recv reads: the number of values, two bytes of nothing, and the values as big-endian float32. */
export function vectorBytes(feature: Float32Array): Buffer {
  const bytes = Buffer.alloc(4 + 4 * feature.length);
  bytes.writeUInt16BE(feature.length, 0);
  for (let e = 0; e < feature.length; e++) bytes.writeFloatBE(at(feature, e), 4 + 4 * e);
  return bytes;
}

/** The values of what vector_send gave. */
export function featureOf(bytes: Buffer): Float32Array {
  return Float32Array.from({ length: (bytes.length - 4) / 4 }, (_, e) => bytes.readFloatBE(4 + 4 * e));
}

/** An entry of PostgreSQL's indexes ends at 2,704 bytes. */
const MOST_BYTES = 2600;

/** Whether a text can be an id in PostgreSQL: it has no NUL character and no half of a pair, and an end. */
export const isId = (id: string) => isText(id) && Buffer.byteLength(id) <= MOST_BYTES;

const isText = (text: string) => !/\0|\p{Surrogate}/u.test(text);

/** @throws UserError for an image that PostgreSQL cannot hold */
export function demandStorable({ id, path = '' }: IndexedImage): void {
  if (isId(id) && isText(path)) return;
  throw new UserError(
    `PostgreSQL cannot hold an image whose id or path is ${kindOf(isId(id) ? path : id)}: NUL characters, halves of pairs of UTF-16, and ids of more than ${MOST_BYTES} bytes. Rename it.`,
  );
}
