// The forms of annotation files, each read as rows of the reference's layout: a list of rows, JSON Lines, Karpathy's
// dataset_*.json, and COCO's own captions_*.json.
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf, isRecord, messageOf, printable } from '../errors.js';
import { kindOf, listed } from './json-kinds.js';
import { positionOf } from './json-position.js';
import { Byte, EncodingDefect, type Fields, JsonDefect, JsonReader } from './json-reader.js';

export type Split = 'train' | 'val' | 'test';
export type Form = 'rows' | 'lines' | 'karpathy' | 'coco';

/** A row as it was found. */
export interface FoundRow {
  /** Counts from 1. */
  row: number;
  /** In a message: `FILE row 3`. */
  where: string;
  /** Of the form `karpathy`. */
  split?: Split;
  /** Whether caption is the list of all captions of the image, in every split: `karpathy` and `coco`. */
  together?: boolean;
  /** {image, caption, image_id}, unchecked. */
  value: unknown;
}

export interface FormTaker {
  row(found: FoundRow): void;
  /** Takes a row at the reader's place straight from its bytes; false, and nothing is taken, for one that it does not know. */
  fast?(reader: JsonReader, row: number): boolean;
  /** A defect of a row of the forms `karpathy` and `coco`, as a whole sentence. */
  defect(text: string): void;
}

export interface FormOptions {
  /** The folder under which images are; without it names are those of the published annotations. */
  imageRoot?: string;
  /** Called now and then with the bytes that are read. */
  progress?: ((done: number, total: number) => void) | undefined;
}

/** Why a file has no rows at all, as a sentence. */
export class FileDefect extends Error {}

const FLICKR_FOLDER = 'flickr30k-images';
const WANTED = new Set(
  'image caption image_id filename filepath split sentences raw cocoid imgid id file_name coco_url'.split(' '),
);
export const FORMS =
  "a list of rows, JSON Lines, Karpathy's dataset_*.json (images with sentences), or COCO's captions_*.json (images and annotations)";

/** The rows that a found one is in `split`: in train each caption is one. */
export function rowsOf({ value, together = false }: FoundRow, split: Split): unknown[] {
  if (split !== 'train' || !together || !isRecord(value) || !Array.isArray(value.caption)) return [value];
  return value.caption.map((caption: unknown) => ({ ...value, caption }));
}

/** The sentence about a file without rows for `split`. */
export function noRows(file: string, form: Form, split: Split): string {
  return form === 'karpathy' ? `${file} has no images of the split ${split}.` : `${file} has no rows.`;
}

/** Reads all rows of `file`. @returns its form @throws FileDefect */
export function readForm(file: string, taker: FormTaker, options: FormOptions = {}): Form {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') throw new FileDefect(`${file} does not exist.`);
    throw new FileDefect(`${file} cannot be read (${messageOf(error)}).`);
  }
  try {
    const total = fstatSync(descriptor).size;
    let done = 0;
    const source = (target: Uint8Array) => {
      const count = readSync(descriptor, target, 0, target.length, done);
      done += count;
      options.progress?.(done, total);
      return count;
    };
    return new FormReader(file, new JsonReader(source, WANTED), taker, options).read();
  } catch (error) {
    if (error instanceof FileDefect) throw error;
    if (error instanceof EncodingDefect)
      throw new FileDefect(`${file} is not in UTF-8${error.message && ` ${error.message}`}.`);
    if (error instanceof JsonDefect) throw new FileDefect(brokenAt(file, descriptor, error.offset));
    if (codeOf(error) === undefined) throw error;
    throw new FileDefect(`${file} cannot be read (${messageOf(error)}).`);
  } finally {
    closeSync(descriptor);
  }
}

function brokenAt(file: string, descriptor: number, offset: number): string {
  let done = 0;
  const source = (target: Uint8Array) => {
    const count = readSync(descriptor, target, 0, target.length, done);
    done += count;
    return count;
  };
  if (fstatSync(descriptor).size === 0) return `${file} is empty.`;
  const { line, column } = positionOf(source, offset);
  return `${file} is broken JSON at line ${line}, column ${column}.`;
}

class FormReader {
  readonly #folders = new Map<string, boolean>();

  constructor(
    readonly file: string,
    readonly reader: JsonReader,
    readonly taker: FormTaker,
    readonly options: FormOptions,
  ) {}

  read(): Form {
    const { reader } = this;
    const first = reader.whole(() => reader.token());
    if (first === Byte.openList) {
      const fast = this.taker.fast?.bind(this.taker);
      this.#elements((row) => this.#row(row), fast);
      this.#end();
      return 'rows';
    }
    if (first === Byte.openObject) return this.#object();
    const value = reader.whole(() => reader.value());
    this.#end();
    throw new FileDefect(`${this.file}: expected a list of rows but received ${kindOf(value)}.`);
  }

  #row(row: number): void {
    const { reader } = this;
    const value = reader.whole(() => reader.value());
    this.taker.row({ row, where: `${this.file} row ${row}`, value });
  }

  /** The elements of the list at the place: `read` reads number `row` (from 1), where `fast` does not know it. */
  #elements(read: (row: number) => void, fast?: (reader: JsonReader, row: number) => boolean): void {
    const { reader } = this;
    const next = () => reader.token();
    reader.pos++;
    if (reader.whole(next) === Byte.closeList) {
      reader.pos++;
      return;
    }
    for (let row = 1; ; row++) {
      if (fast?.(reader, row) !== true) read(row);
      const byte = reader.whole(next);
      if (byte !== Byte.comma && byte !== Byte.closeList) reader.fail();
      reader.pos++;
      if (byte === Byte.closeList) return;
    }
  }

  #end(): void {
    const { reader } = this;
    if (!reader.whole(() => reader.atEnd())) reader.fail();
  }

  /** The first row of JSON Lines, or a whole data set. */
  #object(): Form {
    const { reader } = this;
    const fields: Fields = Object.create(null);
    let images: unknown[] | undefined;
    let annotations: unknown[] | undefined;
    reader.pos++;
    if (reader.whole(() => reader.token()) === Byte.closeObject) reader.pos++;
    else
      for (;;) {
        const key = reader.whole(() => reader.key());
        const isList = reader.whole(() => reader.token()) === Byte.openList;
        if (key === 'images' && isList) images = this.#list();
        else if (key === 'annotations' && isList) annotations = this.#list();
        else
          fields[key] = reader.whole(() => {
            if (WANTED.has(key)) return reader.value();
            return reader.skip();
          });
        const byte = reader.whole(() => reader.token());
        if (byte !== Byte.comma && byte !== Byte.closeObject) reader.fail();
        reader.pos++;
        if (byte === Byte.closeObject) break;
      }
    if (images === undefined && annotations === undefined) return this.#lines(fields);
    this.#end();
    if (images !== undefined && annotations !== undefined) {
      this.#coco(images, annotations);
      return 'coco';
    }
    const first = images?.[0];
    if (images !== undefined && (first === undefined || (isRecord(first) && 'sentences' in first))) {
      this.#karpathy(images);
      return 'karpathy';
    }
    const names = [...Object.keys(fields), ...(images === undefined ? ['annotations'] : ['images'])];
    throw new FileDefect(this.#unknown(names));
  }

  #unknown(fields: readonly string[]): string {
    return `${this.file}: expected ${FORMS} but received an object with the fields ${listed(fields)}.`;
  }

  #list(): unknown[] {
    const values: unknown[] = [];
    const read = () => this.reader.value();
    this.#elements(() => values.push(this.reader.whole(read)));
    return values;
  }

  #lines(first: Fields): Form {
    const { reader, taker } = this;
    const more = !reader.whole(() => reader.atEnd());
    const names = Object.keys(first);
    if (!more && !('image' in first) && !('caption' in first))
      throw new FileDefect(
        names.length === 0 ? `${this.file}: expected a list of rows but received an object.` : this.#unknown(names),
      );
    taker.row({ row: 1, where: `${this.file} row 1`, value: first });
    for (let row = 2; !reader.whole(() => reader.atEnd()); row++) {
      if (taker.fast?.(reader, row) !== true) this.#row(row);
    }
    return 'lines';
  }

  #karpathy(images: readonly unknown[]): void {
    const found = new Set<string>();
    for (const [index, image] of images.entries()) {
      const where = `${this.file} images[${index}]`;
      const wrong = karpathyDefect(image);
      if (wrong !== undefined || !isRecord(image)) {
        this.taker.defect(`${where}: ${wrong}`);
        continue;
      }
      const { filepath, filename, split, sentences, cocoid, imgid } = image;
      found.add(String(split));
      const inSplit = SPLIT_NAMES.get(String(split));
      if (inSplit === undefined) continue;
      const name = typeof filepath === 'string' && filepath !== '' ? `${filepath}/${filename}` : String(filename);
      const captions = (sentences as unknown[]).map((sentence) => (isRecord(sentence) ? sentence.raw : sentence));
      const id = cocoid === undefined ? (imgid ?? name) : `coco_${cocoid}`;
      const value = { image: this.#underRoot(name, FLICKR_FOLDER), caption: captions, image_id: id };
      this.taker.row({ row: index + 1, where, split: inSplit, together: true, value });
    }
    if (found.size > 0 && ![...found].some((split) => SPLIT_NAMES.has(split)))
      throw new FileDefect(
        `${this.file}: expected images of the splits train, restval, val and test but received ${listed([...found])}.`,
      );
  }

  #coco(images: readonly unknown[], annotations: readonly unknown[]): void {
    const captions = new Map<unknown, unknown[]>();
    for (const [index, image] of images.entries()) {
      const where = `${this.file} images[${index}]`;
      if (!isRecord(image)) this.taker.defect(`${where}: expected an object but received ${kindOf(image)}.`);
      else if (image.id === undefined) this.taker.defect(`${where}: field id is missing.`);
      else if (typeof image.file_name !== 'string')
        this.taker.defect(`${where}: ${absent('file_name', image.file_name)}`);
      else captions.set(image.id, []);
    }
    let wrong = 0;
    for (const [index, annotation] of annotations.entries()) {
      const where = `${this.file} annotations[${index}]`;
      if (!isRecord(annotation)) {
        this.taker.defect(`${where}: expected an object but received ${kindOf(annotation)}.`);
        continue;
      }
      if (annotation.caption === undefined && wrong++ === 0 && 'id' in annotation)
        throw new FileDefect(
          `${this.file}: expected COCO's captions but ${where.slice(this.file.length + 1)} has no field caption. Give captions_*.json, not the file of objects or keypoints.`,
        );
      const own = captions.get(annotation.image_id);
      if (own !== undefined) own.push(annotation.caption);
      else {
        const id = printable(String(annotation.image_id));
        this.taker.defect(`${where}: there is no image with the id ${id}.`);
      }
    }
    for (const [index, image] of images.entries()) {
      if (!isRecord(image)) continue;
      const own = captions.get(image.id);
      if (own === undefined || typeof image.file_name !== 'string') continue;
      const folder = cocoFolder(image.file_name, image.coco_url);
      const value = { image: this.#underRoot(image.file_name, folder), caption: own, image_id: `coco_${image.id}` };
      this.taker.row({ row: index + 1, where: `${this.file} images[${index}]`, together: true, value });
    }
  }

  /** The name of an image below image_root: in `folder`, where the data set has it. */
  #underRoot(name: string, folder: string | undefined): string {
    if (folder === undefined || name.includes('/')) return name;
    const { imageRoot } = this.options;
    // For annotations that name COCO's images as the published ones do; Flickr30k's folder has many names.
    if (imageRoot === undefined) return folder === FLICKR_FOLDER ? name : `${folder}/${name}`;
    const there = this.#folders.get(folder) ?? existsSync(join(imageRoot, folder));
    this.#folders.set(folder, there);
    return there ? `${folder}/${name}` : name;
  }
}

/** Karpathy's names of the splits. Like the reference's annotations, training takes the rest of COCO's validation images. */
const SPLIT_NAMES = new Map<string, Split>([
  ['train', 'train'],
  ['restval', 'train'],
  ['val', 'val'],
  ['test', 'test'],
]);

/** What keeps an entry of Karpathy's images from being a row. */
function karpathyDefect(image: unknown): string | undefined {
  if (!isRecord(image)) return `expected an object but received ${kindOf(image)}.`;
  if (typeof image.filename !== 'string') return absent('filename', image.filename);
  if (typeof image.split !== 'string') return absent('split', image.split);
  if (!Array.isArray(image.sentences)) return absent('sentences', image.sentences, 'a list');
  const wrong = image.sentences.findIndex((sentence) => !isRecord(sentence) || typeof sentence.raw !== 'string');
  if (wrong < 0) return undefined;
  const sentence: unknown = image.sentences[wrong];
  return absent(`sentences[${wrong}].raw`, isRecord(sentence) ? sentence.raw : undefined);
}

function absent(field: string, value: unknown, wanted = 'a string'): string {
  if (value === undefined) return `field ${field} is missing.`;
  return `expected ${wanted} for field ${field} but received ${kindOf(value)}.`;
}

/** The folder in which an image of COCO lies: train2014, val2017. */
function cocoFolder(name: string, url: unknown): string | undefined {
  const inUrl = typeof url === 'string' ? /\/([a-z]+20\d\d)\/[^/]+$/.exec(url)?.[1] : undefined;
  return inUrl ?? /^COCO_([a-z]+20\d\d)_/.exec(name)?.[1];
}
