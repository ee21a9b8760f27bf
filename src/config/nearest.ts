// The known name nearest to a mistyped one.
import { at } from '../errors.js';

/**
 * The entry of `known` that is fewest edits away from `name`, or undefined when none is near enough to be meant.
 * Case and `-` for `_` do not count as edits.
 */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  const plain = (text: string) => text.toLowerCase().replaceAll('-', '_');
  const wanted = plain(name);
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(wanted, plain(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/**
 * The entry of `known` that `name` misspells: the same words, each at most a letter off (two in long ones), or two swapped.
 * `image_res` or `max_lr` are other names, however near `image_root` and `min_lr` are.
 */
export function misspelledName(name: string, known: Iterable<string>): string | undefined {
  const plain = (text: string) => text.toLowerCase().replaceAll('-', '_');
  const wanted = plain(name);
  const words = wanted.split('_');
  const joined = words.join('');
  for (const candidate of known) {
    if (Math.abs(candidate.length - wanted.length) > 3) continue;
    const others = plain(candidate).split('_');
    const sameWords =
      others.length === words.length &&
      others.every(
        (word, i) => isNear(word, at(words, i), word.length >= 8 ? 2 : 1) && (word.length > 1 || word === words[i]),
      );
    if (sameWords || isNear(others.join(''), joined, 1)) return candidate;
  }
  return undefined;
}

/** Whether `b` is at most `most` edits from `a`; two letters swapped are one edit. */
function isNear(a: string, b: string, most: number): boolean {
  if (a === b) return true;
  if (Math.abs(a.length - b.length) > most) return false;
  const first = [...a].findIndex((letter, i) => letter !== b[i]);
  const swapped =
    first >= 0 && a[first] === b[first + 1] && a[first + 1] === b[first] && a.slice(first + 2) === b.slice(first + 2);
  return swapped || editDistance(a, b) <= most;
}

/** Levenshtein distance: insertions, deletions and replacements, each one edit. */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 32) return Number.POSITIVE_INFINITY;
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    let left = i;
    above = above.map((up, j) => {
      if (j > 0) left = Math.min(at(above, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1), up + 1, left + 1);
      return left;
    });
  }
  return at(above, b.length);
}
