// Image files to 8-bit RGB, byte for byte as Pillow's `Image.open(path).convert('RGB')`.
import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { codeOf, messageOf, UserError } from '../../errors.js';

/** Pillow's limit: a larger image is taken for a decompression bomb. */
export const MAX_PIXELS = 178_956_970;

export interface RgbImage {
  /** (height, width, 3) uint8. */
  data: Uint8Array;
  width: number;
  height: number;
}

export interface DecodeOptions {
  /** Largest width times height. */
  maxPixels?: number | undefined;
}

const UNSUPPORTED = 'TIFF samples';

type Format = 'jpeg' | 'png' | 'gif' | 'webp' | 'tiff';

/**
 * Decodes a JPEG, PNG, GIF, WebP or TIFF file; the first frame of an animation. As in Pillow, EXIF rotates only TIFF,
 * colour profiles are ignored, alpha is dropped and not blended, CMYK is converted by the plain formula, and 16-bit RGB
 * keeps its upper bytes while 16-bit grey is clipped at 255. The bytes were compared with those of Pillow 12.
 * @throws UserError, with the path, when the file is absent, not an image, truncated, damaged or too large
 */
export async function decodeRgb(path: string, options: DecodeOptions = {}): Promise<RgbImage> {
  const maxPixels = options.maxPixels ?? MAX_PIXELS;
  const bytes = readImage(path);
  const format = formatOf(bytes);
  if (format === undefined) {
    const what = bytes.length === 0 ? 'is empty' : 'is not a JPEG, PNG, GIF, WebP or TIFF image';
    throw new UserError(`The image ${path} ${what}. Replace it or convert it to one of these formats.`);
  }
  try {
    return await decode(bytes, format, maxPixels);
  } catch (error) {
    throw await explain(path, bytes, maxPixels, error);
  }
}

function readImage(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const why = codeOf(error) === 'ENOENT' ? 'does not exist' : `cannot be read (${messageOf(error)})`;
    throw new UserError(`The image ${path} ${why}. Correct image_root or the annotation.`, { cause: error });
  }
}

function formatOf(bytes: Buffer): Format | undefined {
  const start = bytes.toString('latin1', 0, 12);
  if (start.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (start.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  if (start.startsWith('GIF87a') || start.startsWith('GIF89a')) return 'gif';
  if (start.startsWith('RIFF') && start.endsWith('WEBP')) return 'webp';
  if (start.startsWith('II*\0') || start.startsWith('MM\0*')) return 'tiff';
  return undefined;
}

async function decode(bytes: Buffer, format: Format, maxPixels: number): Promise<RgbImage> {
  // 'truncated' is as strict as Pillow: both tolerate other defects of a JPEG stream.
  const options = { failOn: 'truncated', ignoreIcc: true, limitInputPixels: maxPixels } as const;
  const kind = await colourOf(bytes, format, options);
  const image = sharp(bytes, options);
  if (format === 'tiff') image.autoOrient();
  if (kind === 'cmyk') {
    const { data, info } = await image
      .pipelineColourspace('cmyk')
      .toColourspace('cmyk')
      .raw()
      .toBuffer({ resolveWithObject: true });
    return { data: cmykToRgb(data, info.channels), width: info.width, height: info.height };
  }
  if (kind === 'grey16') {
    const { data, info } = await image
      .toColourspace('grey16')
      .raw({ depth: 'ushort' })
      .toBuffer({ resolveWithObject: true });
    return { data: grey16ToRgb(data, info.channels), width: info.width, height: info.height };
  }
  const { data, info } = await image.removeAlpha().toColourspace('srgb').raw().toBuffer({ resolveWithObject: true });
  if (info.channels !== 3) throw new Error(`${info.channels} channels after decoding`);
  return { data, width: info.width, height: info.height };
}

type SharpOptions = NonNullable<Parameters<typeof sharp>[1]>;

/** Whether Pillow's conversion to RGB differs from libvips's, read from the header as cheaply as the format allows. */
async function colourOf(bytes: Buffer, format: Format, options: SharpOptions): Promise<'cmyk' | 'grey16' | 'plain'> {
  if (format === 'jpeg') return jpegComponents(bytes) === 4 ? 'cmyk' : 'plain';
  // PNG's first chunk is its header: depth at byte 24, colour type at 25 (0 is grey without alpha).
  if (format === 'png') return bytes[24] === 16 && bytes[25] === 0 ? 'grey16' : 'plain';
  if (format !== 'tiff') return 'plain';
  const { space, channels, depth } = await sharp(bytes, options).metadata();
  if (space === 'cmyk') return 'cmyk';
  if (depth === 'ushort' && channels === 1) return 'grey16';
  if (depth !== 'uchar') throw new Error(`${UNSUPPORTED} of type ${depth}, which must be converted to 8 bits first`);
  return 'plain';
}

/** The number of colour components in the frame header of a JPEG file; 0 without a header. */
function jpegComponents(bytes: Buffer): number {
  for (let at = 2; at + 9 < bytes.length; ) {
    if (bytes[at] !== 0xff) {
      at += 1; // libjpeg skips bytes between segments
      continue;
    }
    const marker = bytes.readUInt8(at + 1);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame) return bytes.readUInt8(at + 9);
    const hasNoLength = marker === 0 || marker === 0xff || (marker >= 0xd0 && marker <= 0xd8) || marker === 0x01;
    at += hasNoLength ? 1 : 2 + bytes.readUInt16BE(at + 2);
  }
  return 0;
}

/** Pillow's formula: 255 - k - c * (255 - k) / 255, the product rounded. */
function cmykToRgb(data: Uint8Array, channels: number): Uint8Array {
  const pixels = data.length / channels;
  const rgb = new Uint8ClampedArray(pixels * 3);
  for (let i = 0; i < pixels; i++) {
    const light = 255 - (data[i * channels + 3] as number);
    for (let c = 0; c < 3; c++) {
      const product = (data[i * channels + c] as number) * light + 128;
      rgb[i * 3 + c] = light - (((product >> 8) + product) >> 8);
    }
  }
  return new Uint8Array(rgb.buffer);
}

/** Pillow clips 16-bit grey at 255 instead of scaling it. */
function grey16ToRgb(data: Buffer, channels: number): Uint8Array {
  const pixels = data.length / 2 / channels;
  const rgb = new Uint8Array(pixels * 3);
  for (let i = 0; i < pixels; i++) rgb.fill(Math.min(255, data.readUInt16LE(i * channels * 2)), i * 3, i * 3 + 3);
  return rgb;
}

/** The error for the user in place of sharp's or libvips's. */
async function explain(path: string, bytes: Buffer, maxPixels: number, error: unknown): Promise<UserError> {
  const [line = ''] = messageOf(error).split('\n');
  const reason = line.replace(/^Input buffer (has corrupt header:?)?\s*/, '').trim() || 'its header is damaged';
  if (reason.includes('exceeds pixel limit')) {
    const { width, height } = await sharp(bytes, { limitInputPixels: false }).metadata();
    return new UserError(
      `The image ${path} is too large: ${width}x${height} pixels exceed the limit of ${maxPixels}. Make it smaller.`,
      { cause: error },
    );
  }
  const what = reason.startsWith(UNSUPPORTED) ? 'cannot be decoded' : 'is truncated or damaged';
  return new UserError(`The image ${path} ${what} (${reason}). Download or create the file again.`, { cause: error });
}
