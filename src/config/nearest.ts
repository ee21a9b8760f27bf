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
