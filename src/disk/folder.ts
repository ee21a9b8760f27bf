// Makes folders, and writes into one that may not be there yet.
import { accessSync, constants, existsSync, mkdirSync, type Stats, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { codeOf, UserError } from '../errors.js';
import { cannotWrite } from './cannot-write.js';

/** @throws UserError where the folder `path` could not be made, or nothing written into it. Nothing is made. */
export function demandRoomFor(path: string): void {
  const found = lookAt(path);
  const above = dirname(resolve(path));
  if (found === undefined && above !== resolve(path)) {
    demandRoomFor(above);
    return;
  }
  if (found?.isDirectory() === false)
    throw new UserError(`${path} is a file where a folder is to be. Choose another folder, or move the file.`);
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** Makes the folder `path` and those above it where they are absent. @throws UserError when that cannot be done */
export function makeFolder(path: string): void {
  const cannotMake = (why: string, cause: unknown) =>
    new UserError(`The folder ${path} cannot be made: ${why}`, { cause });
  try {
    // Node 20's own way of making those above tries for ever where the system refuses with "does not exist", as in /proc.
    if (!existsSync(dirname(path))) makeFolder(dirname(path));
    if (!existsSync(path)) mkdirSync(path);
    else mkdirSync(path, { recursive: true }); // nothing for a folder, an error for a file
  } catch (error) {
    if (error instanceof UserError) throw error;
    switch (codeOf(error)) {
      case 'ENOENT':
        throw cannotMake('this file system does not allow folders there. Choose another folder.', error);
      case 'EEXIST':
      case 'ENOTDIR':
        throw cannotMake('a part of this path is a file. Choose another folder, or move the file.', error);
      default:
        throw cannotWrite(path, error);
    }
  }
}

/**
 * What is at `path`, or undefined where nothing is.
 * @throws UserError where a folder above it may not be entered, which hides whether anything is there
 */
export function lookAt(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (codeOf(error) === 'ENOTDIR') return undefined;
    if (codeOf(error) !== 'EACCES') throw error;
    const remedy = 'Change its permissions, or run as a user who may';
    throw new UserError(`${path} cannot be reached: this user may not enter ${barredFolder(path)}. ${remedy}.`, {
      cause: error,
    });
  }
}

/** The first folder on the way to `path` that may not be entered. */
function barredFolder(path: string): string {
  const above = dirname(resolve(path));
  try {
    statSync(above);
    return above;
  } catch {
    return barredFolder(above);
  }
}

/** Has `write` write the file `name` in `folder`, which is made first. @throws UserError for what the file system refuses */
export function intoFolder(folder: string, name: string, write: (path: string) => void): void {
  const path = join(folder, name);
  makeFolder(folder);
  try {
    write(path);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}
