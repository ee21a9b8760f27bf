// The image files of a folder: those that its patterns choose, without hidden ones and without what lies outside it.
import type { Dirent, Stats } from 'node:fs';
import { opendir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import picomatch from 'picomatch';
import { messageOf, UserError } from '../errors.js';
import { Turns } from './turns.js';

/** What the files that decode are called. Others are taken where a pattern asks for them: what counts then is their content. */
const ENDINGS = 'avif bmp dib gif jfif jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp'.split(' ');
const IMAGES = `**/*.{${ENDINGS.flatMap((ending) => [ending, ending.toUpperCase()]).join(',')}}`;

const MOST_SORTED = 10_000;

export interface FolderImage {
  /** The path inside the folder, with `/`. */
  readonly id: string;
  readonly path: string;
  readonly size: number;
  readonly modified: number;
}

/** A file that was found, or one that was found and cannot be looked at. */
export type Found = FolderImage | { readonly id: string; readonly path: string; readonly reason: string };

/** Whether an id belongs to a folder of these patterns. `!…` leaves files out again. */
export function matcher(include: readonly string[] | undefined): (id: string) => boolean {
  const given = include ?? [IMAGES];
  const options = { nonegate: true };
  const plain = given.filter((pattern) => !pattern.startsWith('!')).map((pattern) => pattern.replace(/^\.\//, ''));
  const out = given.filter((pattern) => pattern.startsWith('!')).map((pattern) => pattern.slice(1));
  const isIn = picomatch(plain.length === 0 ? [IMAGES] : plain, options);
  const isOut = out.length === 0 ? () => false : picomatch(out, options);
  return (id) => isIn(id) && !isOut(id);
}

/**
 * Walks a folder, each folder in the order of its names unless they are very many. Hidden files and folders are passed over; a link to a file counts as
 * long as that lies inside the folder, a link to a folder does not.
 * @throws UserError where the folder is none or may not be read; the reason of `signal`
 */
export async function* folderImages(
  folder: string,
  include: readonly string[] | undefined,
  signal?: AbortSignal,
): AsyncGenerator<Found> {
  const root = await demandFolder(folder);
  const wanted = matcher(include);
  const turns = new Turns();

  async function* walk(inside: string): AsyncGenerator<Found> {
    const path = join(root, inside);
    for (const entry of await entriesOf(path, inside === '' ? folder : path)) {
      await turns.rest(signal);
      if (entry.name.startsWith('.')) continue;
      const id = inside === '' ? entry.name : `${inside}/${entry.name}`;
      if (entry.isDirectory()) yield* walk(id);
      else if ((entry.isFile() || entry.isSymbolicLink()) && wanted(id)) {
        const found = await look(root, id, join(folder, id), entry.isSymbolicLink());
        if (found !== undefined) yield found;
      }
    }
  }
  yield* walk('');
}

/** The folder's path without links. @throws UserError where there is none */
export async function demandFolder(folder: string): Promise<string> {
  const root = await realpath(folder).catch((error: unknown) => {
    throw new UserError(`The folder ${folder} is not there (${messageOf(error)}). Check the path.`, { cause: error });
  });
  if ((await stat(root)).isDirectory()) return root;
  throw new UserError(`${folder} is a file. Give the folder that it is in, and \`include\` to choose files.`);
}

async function entriesOf(path: string, shown: string): Promise<Dirent[]> {
  try {
    const entries: Dirent[] = [];
    for await (const entry of await opendir(path)) entries.push(entry);
    // Sorting more would hold up the event loop.
    return entries.length > MOST_SORTED ? entries : entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    throw new UserError(
      `The folder ${shown} cannot be read (${messageOf(error)}). Change its permissions, or leave it out by a pattern such as '!…/**'.`,
      { cause: error },
    );
  }
}

/** Undefined for a link that leads to a folder or out of `root`. */
async function look(root: string, id: string, path: string, isLink: boolean): Promise<Found | undefined> {
  try {
    if (isLink && !(await realpath(join(root, id))).startsWith(root === sep ? sep : root + sep)) return undefined;
    const stats: Stats = await stat(join(root, id));
    return stats.isFile() ? { id, path, size: stats.size, modified: stats.mtimeMs } : undefined;
  } catch (error) {
    return { id, path, reason: `The image ${path} cannot be read (${messageOf(error)}). Check the file.` };
  }
}
