// What libvips decodes (JPEG, PNG, WebP, TIFF), brought to Pillow's bytes where the two differ.
import type { Sharp } from 'sharp';
import { greyToRgb, type RgbImage } from './limits.js';
import { loadSharp } from './load-sharp.js';
import { readTiffSamples } from './tiff.js';

export type VipsFormat = 'jpeg' | 'png' | 'webp' | 'tiff';

/** How samples become RGB. `plain` is libvips's own way, equal to Pillow's for 8 bits. */
type Way =
  | 'plain'
  | 'cmyk'
  | 'cmyk16'
  /** 16-bit grey, cut off at 255. */
  | 'grey16'
  /** Grey numbers of other kinds, cut off at 0 and 255. */
  | 'numbers'
  | 'numbers16'
  /** The upper bytes of 16-bit colours. */
  | 'rgb16';

export async function decodeByVips(bytes: Buffer, format: VipsFormat, maxPixels: number): Promise<RgbImage> {
  // 'truncated' is as strict as Pillow: both tolerate other defects of a JPEG stream.
  const options = { failOn: 'truncated', ignoreIcc: true, limitInputPixels: maxPixels } as const;
  const way = wayOf(bytes, format);
  const image = (await loadSharp())(bytes, options);
  if (format === 'tiff') image.autoOrient();
  const { data, channels, width, height } = await raw(image, way);
  return { data: toRgb(data, way, channels), width, height };
}

/** Read from the header as cheaply as the format allows. */
function wayOf(bytes: Buffer, format: VipsFormat): Way {
  if (format === 'jpeg') return jpegComponents(bytes) === 4 ? 'cmyk' : 'plain';
  // PNG's first chunk is its header: depth at byte 24, colour type at 25 (0 is grey without alpha).
  if (format === 'png') return bytes[24] === 16 && bytes[25] === 0 ? 'grey16' : 'plain';
  if (format !== 'tiff') return 'plain';
  const { bits, format: kind, photometric } = readTiffSamples(bytes);
  const wide = bits === 16;
  if (photometric === 5) return wide ? 'cmyk16' : 'cmyk';
  if (photometric < 2 && wide) return kind === 1 ? 'grey16' : 'numbers16';
  if (photometric < 2 && bits > 16) return 'numbers';
  return wide ? 'rgb16' : 'plain';
}

const SPACES: Readonly<Record<Exclude<Way, 'plain'>, string>> = {
  cmyk: 'cmyk',
  cmyk16: 'cmyk',
  grey16: 'grey16',
  numbers: 'b-w',
  numbers16: 'grey16',
  rgb16: 'rgb16',
};

const isNumbers = (way: Way) => way === 'numbers' || way === 'numbers16';

async function raw(image: Sharp, way: Way) {
  if (way === 'plain') image.removeAlpha().toColourspace('srgb').raw();
  else {
    if (way === 'cmyk' || way === 'cmyk16') image.pipelineColourspace('cmyk');
    image.toColourspace(SPACES[way]);
    if (isNumbers(way)) image.raw({ depth: 'float' });
    else image.raw({ depth: way.endsWith('16') ? 'ushort' : 'uchar' });
  }
  const { data, info } = await image.toBuffer({ resolveWithObject: true });
  return { data, channels: info.channels, width: info.width, height: info.height };
}

function toRgb(data: Buffer, way: Way, channels: number): Uint8Array {
  const wide = way.endsWith('16');
  if (way === 'plain') {
    if (channels !== 3) throw new Error(`${channels} channels after decoding`);
    return data;
  }
  const pixels = data.length / channels / (isNumbers(way) ? 4 : wide ? 2 : 1);
  if (way === 'grey16') return greyToRgb(grey(pixels, (i) => Math.min(255, data.readUInt16LE(i * channels * 2))));
  if (isNumbers(way))
    return greyToRgb(grey(pixels, (i) => Math.min(255, Math.max(0, data.readFloatLE(i * channels * 4)))));
  const bytes = wide ? grey(pixels * channels, (i) => data[i * 2 + 1] as number) : data;
  if (way === 'cmyk' || way === 'cmyk16') return cmykToRgb(bytes, channels);
  return firstThree(bytes, channels);
}

function grey(pixels: number, value: (i: number) => number): Uint8Array {
  const out = new Uint8Array(pixels);
  for (let i = 0; i < pixels; i++) out[i] = value(i);
  return out;
}

/** RGB without what follows it. */
function firstThree(data: Uint8Array, channels: number): Uint8Array {
  const rgb = new Uint8Array((data.length / channels) * 3);
  for (let i = 0, o = 0; o < rgb.length; i += channels, o += 3) rgb.set(data.subarray(i, i + 3), o);
  return rgb;
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
