// What the sequence header of an AV1 stream says of its colours (AV1 specification, 5.3 to 5.5).
import { ImageDefect } from './limits.js';

/** By the numbers of ITU-T H.273. */
export interface ColourMeaning {
  primaries: number;
  matrix: number;
  isFullRange: boolean;
}

export interface SequenceHeader {
  /** The largest size of a frame. */
  width: number;
  height: number;
  meaning: ColourMeaning;
}

const UNSPECIFIED = 2;

/** @param obus of one picture. @throws ImageDefect when there is no sequence header among them */
export function readSequenceHeader(obus: Buffer): SequenceHeader {
  for (let at = 0; at < obus.length; ) {
    const head = obus.readUInt8(at);
    at += (head & 4) !== 0 ? 2 : 1;
    let size = obus.length - at;
    if ((head & 2) !== 0) {
      size = 0;
      for (let i = 0, more = true; more; i++) {
        const byte = obus[at++];
        if (byte === undefined || i > 4) throw new ImageDefect('an end within its stream');
        size += (byte & 127) * 2 ** (7 * i);
        more = byte > 127;
      }
    }
    if (((head >> 3) & 15) === 1) return readHeader(new Bits(obus.subarray(at, at + size)));
    at += size;
  }
  throw new ImageDefect('no sequence header');
}

class Bits {
  private at = 0;

  constructor(private readonly bytes: Buffer) {}

  read(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++, this.at++) {
      const byte = this.bytes[this.at >> 3];
      if (byte === undefined) throw new ImageDefect('an end within its stream');
      value = value * 2 + ((byte >> (7 - (this.at & 7))) & 1);
    }
    return value;
  }

  flag(): boolean {
    return this.read(1) === 1;
  }

  /** The specification's uvlc(). */
  variable(): void {
    let zeros = 0;
    while (!this.flag()) zeros += 1;
    if (zeros < 32) this.read(zeros);
  }
}

function readHeader(bits: Bits): SequenceHeader {
  const profile = bits.read(3);
  bits.read(1);
  const isReduced = bits.flag();
  if (isReduced) bits.read(5);
  else readOperatingPoints(bits);
  const [widthBits, heightBits] = [bits.read(4) + 1, bits.read(4) + 1];
  const [width, height] = [bits.read(widthBits) + 1, bits.read(heightBits) + 1];
  if (!isReduced && bits.flag()) bits.read(7); // frame ids
  bits.read(3); // superblocks of 128, filter intra, intra edge filter
  if (!isReduced) readTools(bits);
  bits.read(3); // superres, cdef, restoration
  return { width, height, meaning: readColours(bits, profile) };
}

function readOperatingPoints(bits: Bits): void {
  let hasModel = false;
  let delayBits = 0;
  if (bits.flag()) {
    bits.read(64); // ticks
    if (bits.flag()) bits.variable();
    hasModel = bits.flag();
    if (hasModel) {
      delayBits = bits.read(5) + 1;
      bits.read(42);
    }
  }
  const hasDelay = bits.flag();
  const points = bits.read(5) + 1;
  for (let i = 0; i < points; i++) {
    bits.read(12);
    if (bits.read(5) > 7) bits.read(1);
    if (hasModel && bits.flag()) bits.read(2 * delayBits + 1);
    if (hasDelay && bits.flag()) bits.read(4);
  }
}

function readTools(bits: Bits): void {
  bits.read(4); // interintra, masked, warped, dual filter
  const hasOrder = bits.flag();
  if (hasOrder) bits.read(2);
  const forcesScreenContent = bits.flag() ? 2 : bits.read(1);
  if (forcesScreenContent > 0 && !bits.flag()) bits.read(1);
  if (hasOrder) bits.read(3);
}

function readColours(bits: Bits, profile: number): ColourMeaning {
  const isDeep = bits.flag();
  if (profile === 2 && isDeep) bits.read(1);
  const isGrey = profile === 1 ? false : bits.flag();
  let meaning = { primaries: UNSPECIFIED, transfer: UNSPECIFIED, matrix: UNSPECIFIED };
  if (bits.flag()) meaning = { primaries: bits.read(8), transfer: bits.read(8), matrix: bits.read(8) };
  const { primaries, transfer, matrix } = meaning;
  const isSrgb = !isGrey && primaries === 1 && transfer === 13 && matrix === 0;
  return { primaries, matrix, isFullRange: isSrgb || bits.flag() };
}
