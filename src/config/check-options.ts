// Options of the library's calls, checked once at the door. Mistakes are UserErrors that name the option.
import { isRecord, kindOf, UserError } from '../errors.js';
import { nearestName } from './nearest.js';

/** Whether a value will do, and what it should have been. */
export type Rule = readonly [fits: (value: unknown) => boolean, expected: string];

export const whole = (most: number, least = 1): Rule => [
  (value) => typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most,
  `a whole number from ${least} to ${most}`,
];
export const signalRule: Rule = [(value) => value instanceof AbortSignal, 'an AbortSignal'];
export const functionRule: Rule = [(value) => typeof value === 'function', 'a function'];
export const booleanRule: Rule = [(value) => typeof value === 'boolean', 'true or false'];
export const textRule: Rule = [(value) => typeof value === 'string' && value !== '', 'a text'];

/** A mistake in how the library was called. */
export const misuse = (sentence: string) => new UserError(sentence, { exitCode: 2 });

/** The options of `call`, a copy. @throws UserError for one that has no rule or does not fit its rule */
export function checkOptions<T extends object>(
  call: string,
  rules: Record<keyof T & string, Rule>,
  options: unknown,
): T {
  if (options === undefined) return {} as T;
  if (!isRecord(options)) throw misuse(`The options of ${call} are ${kindOf(options)}. Give an object.`);
  const known = new Map<string, Rule>(Object.entries(rules));
  for (const [name, value] of Object.entries(options)) {
    const rule = known.get(name);
    if (rule === undefined) {
      const near = nearestName(name, known.keys());
      const remedy =
        near === undefined
          ? `It takes ${[...known.keys()].map((key) => `\`${key}\``).join(', ')}.`
          : `Did you mean \`${near}\`?`;
      throw misuse(`${call} has no option \`${name}\`. ${remedy}`);
    }
    const [fits, expected] = rule;
    if (value !== undefined && !fits(value))
      throw misuse(`The option \`${name}\` of ${call} is ${kindOf(value)}. Give ${expected}.`);
  }
  return { ...options } as T;
}

/** @throws UserError unless `text` is a text; `list` and `index` name it in the sentence */
export function checkText(list: string, index: number, text: unknown): asserts text is string {
  if (typeof text !== 'string') throw misuse(`\`${list}[${index}]\` is ${kindOf(text)}. Give a text.`);
}

/** @throws UserError unless `list` is an array; `what` names it in the sentence, `of` what belongs into it */
export function checkList(what: string, list: unknown, of: string): asserts list is readonly unknown[] {
  if (!Array.isArray(list)) throw misuse(`${what} is ${kindOf(list)}. Give an array of ${of}.`);
}
