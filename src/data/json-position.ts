// The place of a defect in a text as an editor shows it: line and column.
import { StringDecoder } from 'node:string_decoder';
import type { ByteSource } from './json-reader.js';

const PIECE = 1 << 16;
const LINE_FEED = 0x0a;

/** Line and column (from 1, in characters) of byte `offset` of a text. */
export function positionOf(source: ByteSource, offset: number): { line: number; column: number } {
  const piece = Buffer.alloc(PIECE);
  let line = 1;
  let column = 1;
  let decoder = new StringDecoder('utf8');
  const count = (bytes: Buffer) => {
    for (const character of decoder.write(bytes)) if (character !== '\ufeff') column++;
  };
  for (let done = 0; done < offset; ) {
    const read = source(piece);
    if (read === 0) break;
    let bytes = piece.subarray(0, Math.min(read, offset - done));
    done += bytes.length;
    for (let end = bytes.indexOf(LINE_FEED); end >= 0; end = bytes.indexOf(LINE_FEED)) {
      line++;
      column = 1;
      decoder = new StringDecoder('utf8');
      bytes = bytes.subarray(end + 1);
    }
    count(bytes);
  }
  return { line, column };
}
