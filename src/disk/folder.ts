// Makes a folder and writes into it, with a sentence when something is in the way.
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { codeOf, UserError } from '../errors.js';
import { cannotWrite } from './atomic-file.js';

/** Makes the folder `path` and those above it where they are absent. @throws UserError when that cannot be done */
export function makeFolder(path: string): void {
  try {
    // Node 20's own way of making those above tries for ever where the system refuses with "does not exist", as in /proc.
    if (!existsSync(dirname(path))) makeFolder(dirname(path));
    if (!existsSync(path)) mkdirSync(path);
    else mkdirSync(path, { recursive: true }); // nothing for a folder, an error for a file
  } catch (error) {
    if (error instanceof UserError) throw error;
    const code = codeOf(error);
    if (code === 'ENOENT')
      throw new UserError(
        `The folder ${path} cannot be made: the file system there takes none; choose another folder.`,
        {
          cause: error,
        },
      );
    if (code !== 'EEXIST' && code !== 'ENOTDIR') throw cannotWrite(path, error);
    throw new UserError(
      `The folder ${path} cannot be made: a part of this path is a file; choose another folder, or move the file.`,
      { cause: error },
    );
  }
}

/** Makes `folder` where it is absent and has `write` write its file `name`. @throws UserError when either cannot be done */
export function intoFolder(folder: string, name: string, write: (path: string) => void): void {
  const path = join(folder, name);
  makeFolder(folder);
  try {
    write(path);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}
