// Images that cannot be read: what an index does about them.
import type { Rule } from '../config/check-options.js';
import { isMemoryShort, UserError } from '../errors.js';

export interface BadImage {
  readonly id: string;
  readonly path: string;
  /** A sentence: what is wrong with it, and the remedy. */
  readonly reason: string;
}

/**
 * `skip` leaves bad images out and lists them in the report; `throw` ends the call at the first; a function is told of
 * each, which is left out unless the function throws.
 */
export type OnBadImage = 'skip' | 'throw' | ((bad: BadImage) => void);

export const badImageRule: Rule = [
  (value) => value === 'skip' || value === 'throw' || typeof value === 'function',
  "'skip', 'throw' or a function",
];

/** The sentence on an image that could not be read. @throws `error` where it is of another kind */
export function reasonOf(error: unknown): string {
  if (error instanceof UserError && !isMemoryShort(error)) return error.message;
  throw error;
}

/** @throws UserError where bad images end the call */
export function tellBad(bad: BadImage, onBadImage: OnBadImage): void {
  if (typeof onBadImage === 'function') onBadImage(bad);
  else if (onBadImage === 'throw')
    throw new UserError(`${bad.reason} Or set \`onBadImage\` to 'skip' to leave such images out and list them.`);
}
