// Texts by their number, which need not exist as strings before they are asked for.
import { counted } from '../logging/text.js';

/** An array of strings is one. */
export interface TextList {
  readonly length: number;
  at(index: number): string | undefined;
}

/** The texts with their numbers. */
export function* texts(list: TextList): Generator<[index: number, text: string]> {
  for (let index = 0; index < list.length; index++) yield [index, textAt(list, index)];
}

/** @throws RangeError where there is no such text */
export function textAt(list: TextList, index: number): string {
  const text = list.at(index);
  if (index >= 0 && text !== undefined) return text;
  throw new RangeError(`Index ${index} is outside ${counted(list.length, 'text')}.`);
}
