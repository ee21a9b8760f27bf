// One row of an annotation file: its fields checked, each defect a sentence.
import { isRecord } from '../errors.js';
import type { Split } from './annotation-forms.js';
import { preCaption } from './caption.js';
import type { ImageNames } from './image-names.js';
import { kindOf, listed } from './json-kinds.js';

/** The fields of a sound row. */
export interface RowFields {
  image: string;
  /** As in the file; one in a train row. */
  captions: string[];
  /** In train rows: the id of the image. Rows with the same image have the same id. */
  imageId?: string | number | bigint;
}

export interface RowRules {
  split: Split;
  names: ImageNames;
  /** Takes a sentence about a defect: the row cannot be used. */
  defect(text: string): void;
  /** Takes a sentence about a caption without words, or a row without captions: used as the reference does. */
  empty(text: string): void;
}

/** The fields of a row: {caption, image, image_id} in train, else {image, caption: [..]}, where a string is one caption. */
export function checkRow(value: unknown, rules: RowRules): RowFields | undefined {
  if (!isRecord(value)) {
    rules.defect(`expected an object but received ${kindOf(value)}.`);
    return undefined;
  }
  if (!('image' in value) && !('caption' in value)) {
    rules.defect(`expected the fields image and caption but found ${listed(Object.keys(value))}.`);
    return undefined;
  }
  let sound = true;
  const empties: string[] = [];
  const defect = (text: string) => {
    sound = false;
    rules.defect(text);
  };
  const own: RowRules = { ...rules, defect, empty: (text) => empties.push(text) };
  const image = checkImage(value, own);
  const captions = checkCaptions(value, own);
  const imageId = rules.split === 'train' ? checkImageId(value, own) : undefined;
  for (const text of empties) rules.empty(text);
  if (!sound || image === undefined) return undefined;
  return imageId === undefined ? { image, captions } : { image, captions, imageId };
}

function checkImage({ image: name }: Record<string, unknown>, { names, defect }: RowRules): string | undefined {
  if (name === undefined) {
    defect('field image is missing.');
  } else if (typeof name !== 'string' || name === '') {
    defect(`expected the path of an image for field image but received ${kindOf(name)}.`);
  } else {
    const wrong = names.defect(name);
    if (wrong === undefined) return name;
    defect(wrong);
  }
  return undefined;
}

function checkCaptions({ caption: value }: Record<string, unknown>, { split, defect, empty }: RowRules): string[] {
  if (value === undefined) {
    defect('field caption is missing.');
    return [];
  }
  if (typeof value !== 'string' && (split === 'train' || !Array.isArray(value))) {
    const wanted = split === 'train' ? 'a string' : 'a list of strings';
    defect(`expected ${wanted} for field caption but received ${kindOf(value)}.`);
    return [];
  }
  const list: unknown[] = typeof value === 'string' ? [value] : value;
  if (list.length === 0) empty('field caption is an empty list. Give the image a caption or remove the row.');
  const captions: string[] = [];
  for (const [index, caption] of list.entries()) {
    const field = typeof value === 'string' ? 'caption' : `caption[${index}]`;
    if (typeof caption !== 'string') {
      defect(`expected a string for field ${field} but received ${kindOf(caption)}.`);
      continue;
    }
    captions.push(caption);
    if (caption === '') {
      empty(`field ${field} is empty.`);
    } else if (preCaption(caption, 1) === '') {
      const text = caption.length > 60 ? `${caption.slice(0, 59)}…` : caption;
      empty(`field ${field} has no words: nothing is left of ${JSON.stringify(text)} after pre_caption.`);
    }
  }
  return captions;
}

function checkImageId({ image_id: id }: Record<string, unknown>, { defect }: RowRules): RowFields['imageId'] {
  if (id === undefined) {
    defect('field image_id is missing.');
  } else if ((typeof id === 'string' && id !== '') || typeof id === 'bigint') {
    return id;
  } else if (typeof id === 'number' && Number.isInteger(id)) {
    return id;
  } else {
    defect(`expected a string or a whole number for field image_id but received ${kindOf(id)}.`);
  }
  return undefined;
}
