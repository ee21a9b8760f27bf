// Image files to 8-bit RGB, byte for byte as Pillow's `Image.open(path).convert('RGB')`.
import { messageOf, UserError } from '../../errors.js';
import { decodeAvif } from './avif.js';
import { decodeBmp } from './bmp.js';
import { FORMATS, type Format, formatOf, otherFormat } from './format.js';
import { decodeGif } from './gif.js';
import { ImageDefect, MAX_PIXELS, type RgbImage, TooManyPixels, UnsupportedImage } from './limits.js';
import { loadSharp } from './load-sharp.js';
import { decodePng, readPng } from './png.js';
import { decodePpm } from './ppm.js';
import { readImageFile } from './read-file.js';
import { decodeByVips } from './vips.js';

export { MAX_PIXELS, type RgbImage } from './limits.js';

export interface DecodeOptions {
  /** Largest width times height. */
  maxPixels?: number | undefined;
  /** What messages call the image after `The image`: by default its path, or `given as bytes`. */
  name?: string | undefined;
  /** What to do about a file that is absent or may not be read. */
  remedy?: string | undefined;
}

/**
 * Decodes a JPEG, PNG, GIF, WebP, TIFF, BMP, PPM or AVIF image, a file's path or its bytes; the first frame of an animation. As in Pillow, EXIF rotates
 * only TIFF, colour profiles are ignored, alpha is dropped and not blended, CMYK is converted by the plain formula, and
 * 16-bit RGB keeps its upper bytes while 16-bit grey is clipped at 255; AVIF is neither turned nor cut. TIFF files of floating-point numbers, of which
 * Pillow would leave black and white, are refused. The bytes were compared with those of Pillow 13.
 * @throws UserError, with the name, when the image is absent, not an image, truncated, damaged or too large
 */
export async function decodeRgb(image: string | Uint8Array, options: DecodeOptions = {}): Promise<RgbImage> {
  const maxPixels = options.maxPixels ?? MAX_PIXELS;
  const isPath = typeof image === 'string';
  const name = options.name ?? (isPath ? image : 'given as bytes');
  const bytes = isPath
    ? readImageFile(image, options.remedy)
    : Buffer.from(image.buffer, image.byteOffset, image.byteLength);
  const format = formatOf(bytes);
  if (format === undefined) throw unread(name, bytes);
  await loadSharp(); // fails with its own sentence, not as a defect of the image
  try {
    return await decode(bytes, format, maxPixels);
  } catch (error) {
    throw await explain(name, bytes, maxPixels, error);
  }
}

async function decode(bytes: Buffer, format: Format, maxPixels: number): Promise<RgbImage> {
  if (format === 'gif') return decodeGif(bytes, maxPixels);
  if (format === 'bmp') return decodeBmp(bytes, maxPixels);
  if (format === 'ppm') return decodePpm(bytes, maxPixels);
  if (format === 'avif') return decodeAvif(bytes, maxPixels);
  if (format !== 'png') return decodeByVips(bytes, format, maxPixels);
  const png = readPng(bytes, maxPixels);
  // libpng decodes faster, and refuses some that Pillow takes.
  return decodeByVips(bytes, format, maxPixels).catch(() => decodePng(png));
}

/** The error for a file of another format. */
function unread(name: string, bytes: Buffer): UserError {
  if (bytes.length === 0) return new UserError(`The image ${name} is empty. Replace it.`);
  const other = otherFormat(bytes);
  const remedy = `Replace it or convert it to one of these formats.`;
  if (other === undefined) return new UserError(`The image ${name} is not a ${FORMATS} image. ${remedy}`);
  if (other === 'a Git LFS pointer')
    return new UserError(`The image ${name} is ${other}, not the image itself. Fetch the files with "git lfs pull".`);
  return new UserError(`The image ${name} is ${other}, which cannot be read here, only ${FORMATS} can. ${remedy}`);
}

/** The error for the user in place of a decoder's. */
async function explain(name: string, bytes: Buffer, maxPixels: number, error: unknown): Promise<UserError> {
  const say = (what: string) => new UserError(`The image ${name} ${what}`, { cause: error });
  const [line = ''] = messageOf(error).split('\n');
  const reason = line.replace(/^Input buffer (has corrupt header:?)?\s*/, '').trim() || 'its header is damaged';
  const isTooLarge = error instanceof TooManyPixels || reason.includes('exceeds pixel limit');
  if (isTooLarge) {
    const size =
      error instanceof TooManyPixels ? error : await (await loadSharp())(bytes, { limitInputPixels: false }).metadata();
    return say(`is too large: ${size.width}x${size.height} pixels exceed the limit of ${maxPixels}. Make it smaller.`);
  }
  if (error instanceof UnsupportedImage)
    return say(`cannot be decoded (${reason}). Convert it to JPEG or to a PNG of 8 bits.`);
  const what = error instanceof ImageDefect ? `it has ${reason}` : reason;
  return say(`is truncated or damaged (${what}). Download or create the file again.`);
}
