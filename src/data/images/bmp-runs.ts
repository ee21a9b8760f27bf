// The run lengths of a Windows bitmap (RLE8, RLE4), as Pillow reads them.
import { ImageDefect } from './limits.js';

/** One index a pixel, in the order in which the rows are stored. @throws ImageDefect when there are too few */
export function decodeRuns(bytes: Buffer, start: number, width: number, height: number, nibbles: boolean): Uint8Array {
  const total = width * height;
  const out = new Uint8Array(total);
  let done = 0;
  let x = 0; // not always `done` % width: Pillow counts what leaves the row, and continues
  let at = start;
  const put = (value: number): void => {
    if (done < total) out[done] = value;
    done += 1;
  };
  while (done < total && at + 1 < bytes.length) {
    const count = bytes[at] as number;
    const value = bytes[at + 1] as number;
    at += 2;
    if (count > 0) {
      const run = Math.max(0, Math.min(count, width - x));
      for (let i = 0; i < run; i++) put(nibbles ? (i % 2 === 0 ? value >> 4 : value & 15) : value);
      x += run;
    } else if (value === 0) {
      done = Math.ceil(done / width) * width; // the end of the row; the rest of it stays 0
      x = 0;
    } else if (value === 1) {
      break; // the end of the image
    } else if (value === 2) {
      if (at + 1 >= bytes.length) break;
      done = Math.min(total, done + (bytes[at] as number) + (bytes[at + 1] as number) * width);
      at += 2;
      x = done % width;
    } else {
      const pixels = Math.min(total - done, value);
      const length = nibbles ? Math.ceil(pixels / 2) : pixels;
      const whole = at + length <= bytes.length;
      for (let i = 0; i < pixels; i++) {
        const byte = bytes[at + (nibbles ? i >> 1 : i)];
        if (byte === undefined) break;
        put(nibbles ? (i % 2 === 0 ? byte >> 4 : byte & 15) : byte);
      }
      if (!whole || done === total) break;
      at += length;
      x += value;
      at += at % 2; // to an even place in the file
    }
  }
  if (done < total) throw new ImageDefect('an end within its pixels');
  return out;
}
