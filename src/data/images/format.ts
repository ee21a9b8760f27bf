// What an image file is, by its first bytes.
import { isPpm } from './ppm.js';

export type Format = 'jpeg' | 'png' | 'gif' | 'webp' | 'tiff' | 'bmp' | 'ppm' | 'avif';

/** The formats that are read, for sentences. */
export const FORMATS = 'JPEG, PNG, GIF, WebP, TIFF, BMP, PPM or AVIF';

/** Classic and big, of either byte order. */
const TIFF = ['II*\0', 'MM\0*', 'II+\0', 'MM\0+'];

/** The format, where it is one that is read. */
export function formatOf(bytes: Buffer): Format | undefined {
  const start = bytes.toString('latin1', 0, 12);
  if (start.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (start.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  if (start.startsWith('GIF87a') || start.startsWith('GIF89a')) return 'gif';
  if (start.startsWith('RIFF') && start.endsWith('WEBP')) return 'webp';
  if (TIFF.some((magic) => start.startsWith(magic))) return 'tiff';
  if (start.startsWith('BM')) return 'bmp';
  if (isPpm(bytes)) return 'ppm';
  return brandsOf(bytes).some((brand) => brand === 'avif' || brand === 'avis') ? 'avif' : undefined;
}

/** Beginnings of files that are not read, and what they are. */
const OTHERS: readonly [starts: readonly string[] | RegExp, what: string][] = [
  [['\xd7\xcd\xc6\x9a', '\x01\0\x09\0\0\x03'], 'a WMF image'],
  [['\0\0\x01\0'], 'an ICO image'],
  [['\0\0\x02\0'], 'a CUR image'],
  [['\0\0\0\x0cjP  ', '\xff\x4f\xff\x51'], 'a JPEG 2000 image'],
  [['\0\0\0\x0cJXL ', '\xff\x0a'], 'a JPEG XL image'],
  [['II\xbc'], 'a JPEG XR image'],
  [['8BPS'], 'a Photoshop image'],
  [['gimp xcf'], 'a GIMP image'],
  [['\x0a\x02\x01', '\x0a\x03\x01', '\x0a\x05\x01', '\x0a\0\x01', '\x0a\x04\x01'], 'a PCX image'],
  [['\x01\xda\0', '\x01\xda\x01'], 'an SGI image'],
  [['\x59\xa6\x6a\x95'], 'a Sun raster image'],
  [['DDS '], 'a DDS image'],
  [['qoif'], 'a QOI image'],
  [['icns'], 'an ICNS image'],
  [['BLP1', 'BLP2'], 'a BLP image'],
  [['P7\n'], 'a PAM image'],
  [['PF\n', 'PF '], 'a colour PFM image'],
  [['v/1\x01'], 'an OpenEXR image'],
  [['#?RADIANCE', '#?RGBE'], 'a Radiance HDR image'],
  [['SIMPLE  ='], 'a FITS image'],
  [['\x8aMNG'], 'an MNG animation'],
  [['AT&TFORM'], 'a DjVu document'],
  [['%!PS', '\xc5\xd0\xd3\xc6'], 'an EPS image'],
  [['%PDF'], 'a PDF document'],
  [['/* XPM */'], 'an XPM image'],
  [/^#define\s+\w+_width/, 'an XBM image'],
  [/^\s*<(svg[\s>]|(\?xml|!--|!DOCTYPE svg)[\s\S]*<svg[\s>])/i, 'an SVG image'],
  [/^\s*(<!DOCTYPE html|<html|<head|<body)/i, 'an HTML page'],
  [/^\s*<\?xml/i, 'an XML document'],
  [['version https://git-lfs'], 'a Git LFS pointer'],
  [/^RIFF[\s\S]{4}AVI /, 'an AVI video'],
  [['\x1a\x45\xdf\xa3'], 'a Matroska or WebM video'],
  [['PK\x03\x04', '\x1f\x8b', '7z\xbc\xaf', 'Rar!', '\x28\xb5\x2f\xfd', 'BZh', '\xfd7zXZ'], 'a compressed archive'],
];

/** What a file is that is not read: `a WMF image`; undefined where it is not known. */
export function otherFormat(bytes: Buffer): string | undefined {
  const brands = brandsOf(bytes);
  if (brands.some((brand) => /^(hei[cxms]|hev[cxms]|mif1|msf1)$/.test(brand))) return 'a HEIC image';
  if (brands.length > 0) return 'an MP4 or QuickTime video';
  const start = bytes.toString('latin1', 0, 1024);
  const text = start.replace(/^\xef\xbb\xbf/, '');
  const found = OTHERS.find(([starts]) =>
    starts instanceof RegExp ? starts.test(text) : starts.some((bytes) => start.startsWith(bytes)),
  );
  if (found !== undefined) return found[1];
  if (start.slice(40, 44) === ' EMF') return 'an EMF image';
  return bytes.toString('latin1', Math.max(0, bytes.length - 18)).startsWith('TRUEVISION-XFILE')
    ? 'a TGA image'
    : undefined;
}

/** The brands of a file in boxes (AVIF, HEIC, MP4): the major one, then those that it is compatible with. */
function brandsOf(bytes: Buffer): string[] {
  if (bytes.toString('latin1', 4, 8) !== 'ftyp') return [];
  const end = Math.min(bytes.readUInt32BE(0), bytes.length, 256);
  const brands = [bytes.toString('latin1', 8, 12)];
  for (let at = 16; at + 4 <= end; at += 4) brands.push(bytes.toString('latin1', at, at + 4));
  return brands;
}
