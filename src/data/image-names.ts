// From the image names in annotations to files: names that leave image_root, backslashes, and the two spellings of
// accented letters in Unicode.
import { existsSync, readdirSync } from 'node:fs';
import { isAbsolute, join, normalize, relative, resolve, sep } from 'node:path';
import { printable } from '../errors.js';

const ORDINARY = /^[ -[\]-~]*$/; // printable ASCII without backslash

/** The images of one image_root. */
export class ImageNames {
  readonly #root: string;
  readonly #entries = new Map<string, ReadonlyMap<string, string>>();

  /** @param allowOutside whether names may lead out of `imageRoot` */
  constructor(
    imageRoot: string,
    readonly allowOutside = false,
  ) {
    this.#root = resolve(imageRoot);
  }

  /** What is wrong with a name, as a sentence about its field; undefined for a sound one. */
  defect(name: string): string | undefined {
    if (ORDINARY.test(name) && !name.startsWith('/') && !name.includes('..') && name.charAt(1) !== ':')
      return undefined;
    if (name.includes('\0')) return 'field image has a NUL character in its path.';
    const shown = `field image "${printable(name, 200)}"`;
    if (/^(?:[A-Za-z]:[\\/]|\\\\)/.test(name)) return `${shown} is a path of Windows. Write it relative to image_root.`;
    if (this.allowOutside || ![name, slashed(name)].some(leaves)) return undefined;
    return `${shown} leaves image_root. Write it relative to that folder, or set \`allowOutsideImages\`.`;
  }

  /** The absolute path of an image: the file that is there under one of its spellings, else the name as it stands. */
  path(name: string): string {
    const plain = this.#join(name);
    if (ORDINARY.test(name) || existsSync(plain)) return plain;
    return this.#respelled(plain) ?? this.#respelled(this.#join(slashed(name))) ?? plain;
  }

  #join(name: string): string {
    if (isPlain(name)) return `${this.#root}/${name}`;
    return isAbsolute(name) ? normalize(name) : join(this.#root, name);
  }

  /** The file whose path differs from `path` by Unicode's normal forms only. */
  #respelled(path: string): string | undefined {
    let found = this.#root;
    for (const part of relative(this.#root, path).split(sep)) {
      const next = join(found, part);
      const entry = existsSync(next) ? next : this.#listed(found).get(part.normalize('NFC'));
      if (entry === undefined) return undefined;
      found = entry;
    }
    return found;
  }

  /** The entries of a folder by their names in NFC. */
  #listed(folder: string): ReadonlyMap<string, string> {
    const known = this.#entries.get(folder);
    if (known !== undefined) return known;
    const entries = new Map<string, string>();
    try {
      for (const name of readdirSync(folder)) entries.set(name.normalize('NFC'), join(folder, name));
    } catch {
      // not a folder, or not readable: nothing is found in it
    }
    this.#entries.set(folder, entries);
    return entries;
  }
}

/** Whether a name is one that path.join would leave as it is: cheaper for a hundred thousand of them. */
function isPlain(name: string): boolean {
  return !/^[./]|\/[./]|\/$/.test(name);
}

/** Annotations made on Windows have backslashes between folders. */
function slashed(name: string): string {
  return name.replaceAll('\\', '/');
}

function leaves(name: string): boolean {
  return isAbsolute(name) || normalize(name).split(sep)[0] === '..';
}
