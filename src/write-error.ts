// One sentence for a file that cannot be written, by cause.
import { codeOf, messageOf, UserError } from './errors.js';

/** The error for `path` that could not be written; `choose` says what else the user may do. */
export function cannotWrite(path: string, error: unknown, choose = 'choose another --output_dir'): UserError {
  return new UserError(`Cannot write ${path}: ${cause(error)}; ${choose}.`, { cause: error });
}

function cause(error: unknown): string {
  switch (codeOf(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return 'the disk is full';
    case 'EACCES':
    case 'EPERM':
      return 'permission is denied';
    case 'EROFS':
      return 'the file system is read-only';
    case 'ENOTDIR':
    case 'EEXIST':
      return 'a part of this path is a file, not a folder';
    case 'EISDIR':
      return 'a folder of this name is in the way';
    default:
      return messageOf(error);
  }
}
