// boot.node: the part of the addon that needs no LibTorch.
import { createRequire } from 'node:module';
import { type AddonFiles, findAddon } from './addon-files.js';

const require = createRequire(import.meta.url);

/** Its exports as TypeScript sees them. */
export interface Boot {
  /** dlopen; null on success, else the dynamic linker's message. */
  open(path: string, global: boolean): string | null;
  /** What SIGINT (2) or SIGTERM (15) writes, whatever this process is busy with; see native/last_words.cc. */
  lastWords(signal: number, descriptor: number, last: string, noted?: string): void;
}

export function loadBoot({ boot }: Pick<AddonFiles, 'boot'>): Boot {
  return require(boot);
}

/** That of any addon; undefined where there is none that loads. */
export function bootIfThere(): Boot | undefined {
  const found = findAddon();
  try {
    return found === undefined ? undefined : loadBoot(found);
  } catch {
    return undefined; // what needs the addon says why
  }
}
