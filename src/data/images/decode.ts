// Image files to 8-bit RGB, byte for byte as Pillow's `Image.open(path).convert('RGB')`.
import sharp from 'sharp';
import { messageOf, UserError } from '../../errors.js';
import { decodeAvif } from './avif.js';
import { decodeBmp } from './bmp.js';
import { FORMATS, type Format, formatOf, otherFormat } from './format.js';
import { decodeGif } from './gif.js';
import { ImageDefect, MAX_PIXELS, type RgbImage, TooManyPixels, UnsupportedImage } from './limits.js';
import { decodePng, readPng } from './png.js';
import { decodePpm } from './ppm.js';
import { readImageFile } from './read-file.js';
import { decodeByVips } from './vips.js';

export { MAX_PIXELS, type RgbImage } from './limits.js';

export interface DecodeOptions {
  /** Largest width times height. */
  maxPixels?: number | undefined;
}

/**
 * Decodes a JPEG, PNG, GIF, WebP, TIFF, BMP, PPM or AVIF file; the first frame of an animation. As in Pillow, EXIF rotates
 * only TIFF, colour profiles are ignored, alpha is dropped and not blended, CMYK is converted by the plain formula, and
 * 16-bit RGB keeps its upper bytes while 16-bit grey is clipped at 255; AVIF is neither turned nor cut. TIFF files of floating-point numbers, of which
 * Pillow would leave black and white, are refused. The bytes were compared with those of Pillow 13.
 * @throws UserError, with the path, when the file is absent, not an image, truncated, damaged or too large
 */
export async function decodeRgb(path: string, options: DecodeOptions = {}): Promise<RgbImage> {
  const maxPixels = options.maxPixels ?? MAX_PIXELS;
  const bytes = readImageFile(path);
  const format = formatOf(bytes);
  if (format === undefined) throw unread(path, bytes);
  try {
    return await decode(bytes, format, maxPixels);
  } catch (error) {
    throw await explain(path, bytes, maxPixels, error);
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
function unread(path: string, bytes: Buffer): UserError {
  if (bytes.length === 0) return new UserError(`The image ${path} is empty. Replace it.`);
  const other = otherFormat(bytes);
  const remedy = `Replace it or convert it to one of these formats.`;
  if (other === undefined) return new UserError(`The image ${path} is not a ${FORMATS} image. ${remedy}`);
  if (other === 'a Git LFS pointer')
    return new UserError(`The image ${path} is ${other}, not the image itself. Fetch the files with "git lfs pull".`);
  return new UserError(`The image ${path} is ${other}, which cannot be read here, only ${FORMATS} can. ${remedy}`);
}

/** The error for the user in place of a decoder's. */
async function explain(path: string, bytes: Buffer, maxPixels: number, error: unknown): Promise<UserError> {
  const say = (what: string) => new UserError(`The image ${path} ${what}`, { cause: error });
  const [line = ''] = messageOf(error).split('\n');
  const reason = line.replace(/^Input buffer (has corrupt header:?)?\s*/, '').trim() || 'its header is damaged';
  const isTooLarge = error instanceof TooManyPixels || reason.includes('exceeds pixel limit');
  if (isTooLarge) {
    const size = error instanceof TooManyPixels ? error : await sharp(bytes, { limitInputPixels: false }).metadata();
    return say(`is too large: ${size.width}x${size.height} pixels exceed the limit of ${maxPixels}. Make it smaller.`);
  }
  if (error instanceof UnsupportedImage)
    return say(`cannot be decoded (${reason}). Convert it to JPEG or to a PNG of 8 bits.`);
  const what = error instanceof ImageDefect ? `it has ${reason}` : reason;
  return say(`is truncated or damaged (${what}). Download or create the file again.`);
}
