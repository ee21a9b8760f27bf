// The rows of a train split in little memory: captions and image names as bytes, numbers in typed arrays.
import {
  FileDefect,
  type FormOptions,
  type FormTaker,
  type FoundRow,
  noRows,
  readForm,
  rowsOf,
} from './annotation-forms.js';
import { checkRow, type RowFields } from './annotation-row.js';
import { ByteStrings, ByteTable, IntList } from './byte-strings.js';
import { fastRow, type RowPlaces } from './fast-row.js';
import type { ImageNames } from './image-names.js';
import type { JsonReader } from './json-reader.js';

/** Reads and checks the rows of a train split; those with a defect are omitted. */
export class TrainRows implements FormTaker {
  /** Each row's caption, as in the file. */
  readonly captions = new ByteStrings();
  /** The names of different images, as in the file. */
  readonly images = new ByteTable();
  /** Each row's image. */
  readonly imageOf = new IntList();
  /** The row that first has each image. */
  readonly firstRows = new IntList();
  /** Each row's image_id, numbered in the order in which they first come. */
  readonly idx = new IntList();
  readonly defects: string[] = [];
  /** Captions without words. */
  readonly empty: string[] = [];
  readonly #ids = new ByteTable();
  readonly #places: RowPlaces = { imageStart: 0, imageEnd: 0, captionStart: 0, captionEnd: 0, idStart: 0, idEnd: 0 };

  constructor(
    readonly file: string,
    readonly names: ImageNames,
    options: FormOptions = {},
  ) {
    try {
      const form = readForm(file, this, options);
      if (this.imageOf.length === 0 && this.defects.length === 0) this.defects.push(noRows(file, form, 'train'));
    } catch (error) {
      if (!(error instanceof FileDefect)) throw error;
      this.defects.splice(0, this.defects.length, error.message);
    }
  }

  fast(reader: JsonReader, row: number): boolean {
    const places = this.#places;
    const start = reader.pos;
    if (!fastRow(reader, places)) return false;
    const { bytes } = reader;
    let image = this.images.find(bytes, places.imageStart, places.imageEnd);
    if (image < 0) {
      if (this.names.defect(bytes.toString('utf8', places.imageStart, places.imageEnd)) !== undefined) {
        reader.pos = start;
        return false;
      }
      image = this.images.add(bytes, places.imageStart, places.imageEnd);
      this.firstRows.push(row);
    }
    this.imageOf.push(image);
    this.captions.push(bytes, places.captionStart, places.captionEnd);
    const known = this.#ids.find(bytes, places.idStart, places.idEnd);
    this.idx.push(known < 0 ? this.#ids.add(bytes, places.idStart, places.idEnd) : known);
    return true;
  }

  row(found: FoundRow): void {
    if (found.split !== undefined && found.split !== 'train') return;
    for (const value of rowsOf(found, 'train')) this.#add(found, value);
  }

  defect(text: string): void {
    this.defects.push(text);
  }

  /** Number of different image_ids. */
  get imageCount(): number {
    return this.#ids.strings.length;
  }

  #add({ row, where }: FoundRow, value: unknown): void {
    const found = checkRow(value, {
      split: 'train',
      names: this.names,
      defect: (text) => this.defects.push(`${where}: ${text}`),
      empty: (text) => this.empty.push(`${where}: ${text}`),
    });
    if (found === undefined) return;
    const name = Buffer.from(found.image);
    let image = this.images.find(name, 0, name.length);
    if (image < 0) {
      image = this.images.add(name, 0, name.length);
      this.firstRows.push(row);
    }
    this.imageOf.push(image);
    for (const caption of found.captions) {
      const bytes = Buffer.from(caption);
      this.captions.push(bytes, 0, bytes.length);
    }
    const id = idBytes(found.imageId);
    const known = this.#ids.find(id, 0, id.length);
    this.idx.push(known < 0 ? this.#ids.add(id, 0, id.length) : known);
  }
}

/** As keys of a Python dict: 7 and 7.0 are the same image, "7" is another. A string begins with its quotation mark. */
function idBytes(id: RowFields['imageId']): Buffer {
  if (typeof id === 'string') return Buffer.from(`"${id}`);
  return Buffer.from(typeof id === 'number' ? BigInt(id).toString() : String(id));
}
