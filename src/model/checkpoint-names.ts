// Names of weights as wrappers leave them in checkpoints (`module.`, `_orig_mod.`, `model.`), and as the model has them.
import { at } from '../errors.js';

/** What DataParallel, DistributedDataParallel and Lightning put in front of every name. */
const WRAPPERS = new Set(['module', 'model']);
/** What torch.compile, FSDP and activation checkpointing put into the middle of names; no model calls a layer so. */
const INNER = /(^|\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\./g;
/** Share of the names that must have a prefix: a few, such as EMA's `n_averaged`, may lie beside them. */
const NEARLY_ALL = 0.9;
const DEEPEST = 4;

export interface PlainNames {
  /** Name in the file, by the model's name. */
  fileNames: ReadonlyMap<string, string>;
  /** What was taken off, as it is in the file (`module.`); empty where nothing was. */
  prefixes: readonly string[];
  /** How many names had it. */
  count: number;
}

/**
 * Takes off what wrappers put into the names, and any prefix that nearly all names have and without which more of them
 * are the model's. A name that would then meet another one stays as it is.
 */
export function plainNames(names: Iterable<string>, isKnown: (name: string) => boolean): PlainNames {
  const all = [...names];
  const inner = new Set<string>();
  const cleaned = all.map((name) => withoutInner(name, inner));
  const prefix = commonPrefix(cleaned, isKnown);
  const renamed = cleaned.map((name) => (name.startsWith(prefix) ? name.slice(prefix.length) : name));
  const own = new Set(all.filter((name, index) => renamed[index] === name));
  const fileNames = new Map<string, string>();
  let count = 0;
  for (const [index, name] of all.entries()) {
    const plain = at(renamed, index);
    const taken = plain !== name && (own.has(plain) || fileNames.has(plain));
    if (plain !== name && !taken) count += 1;
    fileNames.set(taken ? name : plain, name);
  }
  return { fileNames, prefixes: [...(prefix === '' ? [] : [prefix]), ...inner], count };
}

function withoutInner(name: string, found: Set<string>): string {
  return name.replace(INNER, (whole, before: string) => {
    found.add(whole.slice(before.length));
    return before;
  });
}

/** The longest prefix of wrappers; or of other names, where more names are known without it. */
function commonPrefix(names: readonly string[], isKnown: (name: string) => boolean): string {
  const least = Math.max(1, Math.ceil(names.length * NEARLY_ALL));
  const knownWithout = (prefix: string) =>
    names.reduce((sum, name) => sum + (name.startsWith(prefix) && isKnown(name.slice(prefix.length)) ? 1 : 0), 0);
  let best = '';
  let bestKnown = knownWithout('');
  let wrappersOnly = true;
  let prefix = '';
  for (let depth = 0; depth < DEEPEST; depth++) {
    const segment = commonSegment(names, prefix, least);
    if (segment === undefined) break;
    prefix += `${segment}.`;
    wrappersOnly &&= WRAPPERS.has(segment);
    const known = knownWithout(prefix);
    if (known > bestKnown || (wrappersOnly && known === bestKnown)) {
      best = prefix;
      bestKnown = known;
    }
  }
  return best;
}

/** The part before the next point that at least `least` of the names have after `prefix`. */
function commonSegment(names: readonly string[], prefix: string, least: number): string | undefined {
  const counts = new Map<string, number>();
  for (const name of names) {
    const end = name.startsWith(prefix) ? name.indexOf('.', prefix.length) : -1;
    if (end < 0) continue;
    const segment = name.slice(prefix.length, end);
    const count = (counts.get(segment) ?? 0) + 1;
    if (count >= least) return segment;
    counts.set(segment, count);
  }
  return undefined;
}
