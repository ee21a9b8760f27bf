// Makes a folder, with a sentence when something is in the way.
import { mkdirSync } from 'node:fs';
import { codeOf, UserError } from './errors.js';
import { cannotWrite } from './files.js';

/** Makes the folder `path` and those above it where they are absent. @throws UserError when that cannot be done */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'EEXIST' && code !== 'ENOTDIR') throw cannotWrite(path, error);
    throw new UserError(
      `The folder ${path} cannot be made: a part of this path is a file; choose another folder, or move the file.`,
      { cause: error },
    );
  }
}
