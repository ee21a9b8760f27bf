// A text in memory as the source of a JSON reader.
import type { ByteSource } from '#blip/data/json-reader.js';

export function bytesOf(text: string | Uint8Array): ByteSource {
  const bytes = Buffer.from(text);
  let done = 0;
  return (target) => {
    const piece = bytes.subarray(done, done + target.length);
    target.set(piece);
    done += piece.length;
    return piece.length;
  };
}
