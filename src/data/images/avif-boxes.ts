// What an AVIF file says of its first image: where its coded tiles are and how their colours are meant (ISO 14496-12, 23008-12, AVIF 1.1).
import { type ColourMeaning, readSequenceHeader } from './av1-header.js';
import { ImageDefect, UnsupportedImage } from './limits.js';

/** One picture: a tile, or several in rows that cover it from the upper left. */
export interface CodedPicture {
  width: number;
  height: number;
  columns: number;
  rows: number;
  /** Row by row. */
  tiles: CodedTile[];
}

export interface CodedTile {
  width: number;
  height: number;
  /** The payload of its av1C box. */
  configuration: Buffer;
  /** AV1 OBUs, in parts of the file: many tiles may name the same bytes, so they are put together one tile at a time. */
  data: readonly Buffer[];
}

export interface AvifFile {
  colour: CodedPicture;
  alpha: CodedPicture | undefined;
  /** Whether colours were multiplied by alpha. */
  isPremultiplied: boolean;
  meaning: ColourMeaning;
}

interface Box {
  type: string;
  body: Buffer;
}

interface Item {
  type: string;
  data: Buffer[];
  properties: Box[];
}

const MOST_BOXES = 65_536;
const LEAST_TILE = 64;

/** @throws ImageDefect where the boxes lead nowhere; UnsupportedImage for an image that is not coded as AV1 */
export function readAvif(bytes: Buffer): AvifFile {
  const meta = boxes(bytes).find(({ type }) => type === 'meta');
  if (meta === undefined) throw new UnsupportedImage('an AVIF sequence without a still image');
  const parts = new Map(boxes(meta.body.subarray(4)).map(({ type, body }) => [type, new Reader(body)]));
  const part = (type: string) => {
    const found = parts.get(type);
    if (found === undefined) throw new ImageDefect(`no box ${type} in its header`);
    return found;
  };
  const items = readItems(part('iinf'));
  placeItems(part('iloc'), items, bytes, parts.get('idat')?.rest() ?? Buffer.alloc(0));
  giveProperties(part('iprp').rest(), items);
  const references = readReferences(parts.get('iref'));
  const pitm = part('pitm');
  const primary = pitm.version() === 0 ? pitm.uint(2) : pitm.uint(4);
  const colour = pictureOf(primary, items, references);
  const isAlphaOf = ({ type, from, to }: Reference) =>
    type === 'auxl' && to.includes(primary) && isAlpha(items.get(from));
  const alpha = references.find(isAlphaOf)?.from;
  const [first] = colour.tiles;
  if (first === undefined) throw new ImageDefect('no tiles');
  const meaning = boxMeaning(items.get(primary)) ?? boxMeaning(firstTileItem(primary, items, references));
  return {
    colour,
    alpha: alpha === undefined ? undefined : pictureOf(alpha, items, references),
    isPremultiplied: references.some(
      ({ type, from, to }) => type === 'prem' && from === primary && to.includes(alpha ?? -1),
    ),
    meaning: meaning ?? readSequenceHeader(Buffer.concat(first.data)).meaning,
  };
}

/** Big-endian numbers; an end too early is a defect of the image. */
class Reader {
  private at = 0;

  constructor(private readonly bytes: Buffer) {}

  uint(size: number): number {
    if (size === 0) return 0;
    if (this.at + size > this.bytes.length) throw new ImageDefect('an end within its header');
    const value = size === 8 ? Number(this.bytes.readBigUInt64BE(this.at)) : this.bytes.readUIntBE(this.at, size);
    this.at += size;
    return value;
  }

  text(size: number): string {
    return this.take(size).toString('latin1');
  }

  take(size: number): Buffer {
    if (this.at + size > this.bytes.length) throw new ImageDefect('an end within its header');
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  /** The version of a full box, past its flags. */
  version(): number {
    const version = this.uint(1);
    this.flags = this.uint(3);
    return version;
  }

  flags = 0;

  rest(): Buffer {
    return this.bytes.subarray(this.at);
  }
}

function boxes(bytes: Buffer): Box[] {
  const found: Box[] = [];
  for (let at = 0; at + 8 <= bytes.length; ) {
    const short = bytes.readUInt32BE(at);
    const head = short === 1 ? 16 : 8;
    if (at + head > bytes.length) throw new ImageDefect('an end within its header');
    const size = short === 1 ? Number(bytes.readBigUInt64BE(at + 8)) : short === 0 ? bytes.length - at : short;
    const type = bytes.toString('latin1', at + 4, at + 8);
    // The data may be cut off; what lies in it is asked for by place, and checked there.
    if (size < head || (at + size > bytes.length && type !== 'mdat'))
      throw new ImageDefect(`a box ${nameOf(type)} of ${size} bytes`);
    found.push({ type, body: bytes.subarray(at + head, Math.min(at + size, bytes.length)) });
    if (found.length > MOST_BOXES) throw new ImageDefect('too many boxes');
    at += size;
  }
  return found;
}

/** Without what a terminal might take for a command. */
function nameOf(type: string): string {
  return type.replace(/[^ -~]/g, '?');
}

function readItems(iinf: Reader): Map<number, Item> {
  const items = new Map<number, Item>();
  iinf.uint(iinf.version() === 0 ? 2 : 4);
  for (const { type, body } of boxes(iinf.rest())) {
    if (type !== 'infe') continue;
    const entry = new Reader(body);
    const version = entry.version();
    if (version < 2) continue;
    const id = entry.uint(version === 2 ? 2 : 4);
    entry.uint(2); // protection
    items.set(id, { type: entry.text(4), data: [], properties: [] });
  }
  return items;
}

function placeItems(iloc: Reader, items: Map<number, Item>, file: Buffer, idat: Buffer): void {
  const version = iloc.version();
  const sizes = iloc.uint(2);
  const [offsetSize, lengthSize, baseSize] = [sizes >> 12, (sizes >> 8) & 15, (sizes >> 4) & 15];
  const indexSize = version === 0 ? 0 : sizes & 15;
  if ([offsetSize, lengthSize, baseSize, indexSize].some((size) => size !== 0 && size !== 4 && size !== 8))
    throw new ImageDefect('numbers of unknown size in its header');
  const count = iloc.uint(version < 2 ? 2 : 4);
  for (let i = 0; i < count; i++) {
    const id = iloc.uint(version < 2 ? 2 : 4);
    const method = version === 0 ? 0 : iloc.uint(2) & 15;
    iloc.uint(2); // the data reference, this file
    const base = iloc.uint(baseSize);
    const extents = iloc.uint(2);
    if (extents > 1 && offsetSize + lengthSize + indexSize === 0) throw new ImageDefect('parts without a place');
    let total = 0;
    for (let e = 0; e < extents; e++) {
      iloc.uint(indexSize);
      const from = base + iloc.uint(offsetSize);
      const length = iloc.uint(lengthSize);
      const source = method === 1 ? idat : file;
      const to = length === 0 ? source.length : from + length;
      const item = items.get(id);
      if (item === undefined) continue;
      if (method > 1) throw new UnsupportedImage('an AVIF image made of other items');
      if (to > source.length) throw new ImageDefect('an end before its data');
      total += to - from;
      if (total > source.length) throw new ImageDefect('more data than the file');
      item.data.push(source.subarray(from, to));
    }
  }
}

function giveProperties(iprp: Buffer, items: Map<number, Item>): void {
  const parts = boxes(iprp);
  const properties = boxes(parts.find(({ type }) => type === 'ipco')?.body ?? Buffer.alloc(0));
  for (const { type, body } of parts) {
    if (type !== 'ipma') continue;
    const ipma = new Reader(body);
    const version = ipma.version();
    const wide = (ipma.flags & 1) === 1;
    const count = ipma.uint(4);
    for (let i = 0; i < count; i++) {
      const item = items.get(ipma.uint(version === 0 ? 2 : 4));
      for (let left = ipma.uint(1); left > 0; left--) {
        const index = wide ? ipma.uint(2) & 0x7fff : ipma.uint(1) & 0x7f;
        const property = properties[index - 1];
        if (property !== undefined) item?.properties.push(property);
      }
    }
  }
}

interface Reference {
  type: string;
  from: number;
  to: number[];
}

function readReferences(iref: Reader | undefined): Reference[] {
  if (iref === undefined) return [];
  const size = iref.version() === 0 ? 2 : 4;
  return boxes(iref.rest()).map(({ type, body }) => {
    const reader = new Reader(body);
    const from = reader.uint(size);
    const count = reader.uint(2);
    return { type, from, to: Array.from({ length: count }, () => reader.uint(size)) };
  });
}

/** The coded item that stands for `id`: itself, or the first tile of a grid. */
function firstTileItem(id: number, items: Map<number, Item>, references: Reference[]): Item | undefined {
  const [tile] = references.find(({ type, from }) => type === 'dimg' && from === id)?.to ?? [];
  return tile === undefined ? items.get(id) : items.get(tile);
}

function pictureOf(id: number, items: Map<number, Item>, references: Reference[]): CodedPicture {
  const item = items.get(id);
  if (item?.type === 'av01') {
    const tile = tileOf(item);
    return { width: tile.width, height: tile.height, columns: 1, rows: 1, tiles: [tile] };
  }
  if (item?.type !== 'grid') throw new UnsupportedImage(`an AVIF image of kind ${nameOf(item?.type ?? 'unknown')}`);
  const grid = new Reader(Buffer.concat(item.data));
  grid.uint(1); // version
  const size = (grid.uint(1) & 1) === 1 ? 4 : 2;
  const rows = grid.uint(1) + 1;
  const columns = grid.uint(1) + 1;
  const [width, height] = [grid.uint(size), grid.uint(size)];
  const parts = references.find(({ type, from }) => type === 'dimg' && from === id)?.to ?? [];
  if (parts.length !== rows * columns) throw new ImageDefect(`${parts.length} tiles`);
  const tiles = parts.map((part) => {
    const item = items.get(part);
    if (item?.type !== 'av01') throw new UnsupportedImage('an AVIF grid of other than AV1 images');
    return tileOf(item);
  });
  const [first] = tiles as [CodedTile];
  // No tile may lie wholly outside, so that the tiles are hardly more pixels than the picture.
  const fits = (total: number, one: number, count: number) => total <= one * count && total > one * (count - 1);
  const isEven = tiles.every((tile) => tile.width === first.width && tile.height === first.height);
  if (first.width < LEAST_TILE || first.height < LEAST_TILE) throw new ImageDefect('tiles of fewer than 64x64 pixels');
  if (!isEven || !fits(width, first.width, columns) || !fits(height, first.height, rows))
    throw new ImageDefect('tiles that do not cover it');
  return { width, height, columns, rows, tiles };
}

function tileOf(item: Item): CodedTile {
  const property = (type: string) => {
    const found = item.properties.find((box) => box.type === type);
    if (found === undefined) throw new ImageDefect(`no box ${type} in its header`);
    return found.body;
  };
  if (item.properties.some(({ type }) => type === 'lsel' || type === 'a1op'))
    throw new UnsupportedImage('an AVIF image of several layers');
  const size = new Reader(property('ispe'));
  size.version();
  return { width: size.uint(4), height: size.uint(4), configuration: property('av1C'), data: item.data };
}

function isAlpha(item: Item | undefined): boolean {
  return (item?.properties ?? []).some(
    ({ type, body }) =>
      type === 'auxC' &&
      /^(urn:mpeg:mpegB:cicp:systems:auxiliary:alpha|urn:mpeg:hevc:2015:auxid:1)\0/.test(body.toString('latin1', 4)),
  );
}

/** What a colour box of type nclx says. */
function boxMeaning(item: Item | undefined): ColourMeaning | undefined {
  const box = item?.properties.find(({ type, body }) => type === 'colr' && body.toString('latin1', 0, 4) === 'nclx');
  if (box === undefined) return undefined;
  const reader = new Reader(box.body.subarray(4));
  const primaries = reader.uint(2);
  reader.uint(2); // the transfer function, which libavif does not apply
  return { primaries, matrix: reader.uint(2), isFullRange: reader.uint(1) >> 7 === 1 };
}
