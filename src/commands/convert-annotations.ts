// `convert-annotations`: Karpathy's dataset_*.json, COCO's captions_*.json, JSON Lines and lists of rows, written as the
// annotation files that the config's ann_root holds.
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { FileDefect, FORMS, readForm, type Split } from '../data/annotation-forms.js';
import { checkRow, type RowFields } from '../data/annotation-row.js';
import { requireSound } from '../data/annotations.js';
import { ImageNames } from '../data/image-names.js';
import { annotationFileName, type Dataset } from '../data/published.js';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { lookAt, makeFolder } from '../disk/folder.js';
import { get, isRecord, UserError } from '../errors.js';
import { fitted } from '../logging/terminal.js';
import { counted } from '../logging/text.js';

const SPLITS = ['train', 'val', 'test'] as const satisfies Split[];

export interface ConvertOptions {
  /** For the names of the files that are written; by default what the name of the file read says. */
  dataset?: Dataset | undefined;
  /** What a file of one split is; by default what its name says. */
  split?: Split | undefined;
}

/** All captions of one image. */
interface ImageRows {
  image: string;
  captions: string[];
  id: RowFields['imageId'];
}

/** Converts `input` and prints what was written to the folder `output`. @throws UserError for whatever a user can mend */
export async function convertAnnotations(
  input: string,
  output: string,
  { dataset, split }: ConvertOptions,
  print: (line: string) => void = (line) => console.log(fitted(line)),
): Promise<void> {
  const splits = readImages(input, split);
  const into = dataset ?? (/flickr/i.test(basename(input)) ? 'flickr' : 'coco');
  const fileOf = (name: Split) => join(output, annotationFileName(into, name));
  const there = [...splits.keys()].map(fileOf).find((file) => existsSync(file));
  if (there !== undefined) throw new UserError(`${there} exists already. Move it away, or name another folder.`);
  makeFolder(output);
  for (const [name, images] of splits) {
    const file = fileOf(name);
    const rows = await write(file, [...images.values()], name);
    print(`${file}: ${counted(rows, 'row')}, ${counted(images.size, 'image')}`);
  }
  const missing = SPLITS.filter((name) => !splits.has(name) && !existsSync(fileOf(name)));
  if (missing.length > 0) print(`${output} has no ${missing.join(' and no ')} split yet.`);
}

/** The images of each split that the file has, by their names. */
function readImages(input: string, asked: Split | undefined): Map<Split, Map<string, ImageRows>> {
  const splits = new Map<Split, Map<string, ImageRows>>();
  const defects: string[] = [];
  const names = new ImageNames('/', true);
  const named = asked ?? splitOf(input);
  let unnamed = false;
  const take = (where: string, split: Split, value: unknown) => {
    const defect = (text: string) => defects.push(`${where}: ${text}`);
    const found = checkRow(slashed(value), { split: 'val', names, defect, empty: () => {} });
    if (found === undefined) return;
    const id = isRecord(value) && value.image_id !== undefined ? value.image_id : found.image;
    if (!splits.has(split)) splits.set(split, new Map());
    const images = get(splits, split);
    const known = images.get(found.image);
    if (known !== undefined) known.captions = known.captions.concat(found.captions);
    else if (typeof id === 'string' || typeof id === 'bigint' || Number.isInteger(id))
      images.set(found.image, { image: found.image, captions: found.captions, id: id as ImageRows['id'] });
    else defect('expected a string or a whole number for field image_id.');
  };
  lookAt(input); // a folder that may not be entered says so, and nothing of forms
  try {
    readForm(input, {
      row({ where, split = named, value }) {
        if (split === undefined) unnamed = true;
        else if (asked === undefined || asked === split) take(where, split, value);
      },
      defect: (text) => defects.push(text),
    });
  } catch (error) {
    if (!(error instanceof FileDefect)) throw error;
    throw new UserError(`${error.message} What can be converted: ${FORMS}.`, { cause: error });
  }
  requireSound(defects);
  if (unnamed) throw new UserError(`${input} does not say which split it is. Name it with --split train, val or test.`);
  if (splits.size === 0)
    throw new UserError(`${input} has no rows${asked === undefined ? '' : ` of the split ${asked}`}.`);
  return new Map(SPLITS.flatMap((name) => (splits.has(name) ? [[name, get(splits, name)]] : [])));
}

/** The one split that a file's name names. */
function splitOf(file: string): Split | undefined {
  const [first, ...others] = new Set(basename(file).match(/train|val|test/g));
  return others.length === 0 ? SPLITS.find((name) => name === first) : undefined;
}

/** A row with `/` between the folders of its image. */
function slashed(value: unknown): unknown {
  if (!isRecord(value) || typeof value.image !== 'string') return value;
  return { ...value, image: value.image.replaceAll('\\', '/') };
}

/** Writes one split. @returns the number of its rows */
async function write(file: string, images: readonly ImageRows[], split: Split): Promise<number> {
  return await writeFileAtomically(file, async (out) => {
    let rows = 0;
    const add = async (row: string) => {
      await out.write(Buffer.from(`${rows++ === 0 ? '[' : ',\n'}${row}`));
    };
    for (const { image, captions, id } of images) {
      if (split !== 'train') await add(JSON.stringify({ image, caption: captions }));
      else
        for (const caption of captions) {
          const number = typeof id === 'bigint' ? String(id) : JSON.stringify(id);
          await add(`${JSON.stringify({ caption, image }).slice(0, -1)},"image_id":${number}}`);
        }
    }
    await out.write(Buffer.from(rows === 0 ? '[]\n' : ']\n'));
    return rows;
  });
}
