// What is said of a file that cannot be written.
import { dirname } from 'node:path';
import { codeOf, messageOf, UserError } from '../errors.js';

/** The sentence for a file that cannot be written. */
export function cannotWrite(path: string, error: unknown): UserError {
  const sentence = (what: string) => new UserError(`${path} cannot be written: ${what}`, { cause: error });
  switch (codeOf(error)) {
    case 'ENOSPC':
      return sentence('the disk is full. Free some space or choose another folder.');
    case 'EDQUOT':
      return sentence("this user's disk quota is used up. Free some space or choose another folder.");
    case 'EFBIG':
      return sentence('it is larger than a file may be here. Raise the limit (ulimit -f) or choose another disk.');
    case 'EACCES':
    case 'EPERM':
      return sentence('this user may not write there. Change the permissions or choose another folder.');
    case 'EROFS':
      return sentence('the file system is read-only. Choose another folder.');
    case 'ENOENT':
    case 'ENOTDIR':
      return sentence(`the folder ${dirname(path)} does not exist. Create it first.`);
    default:
      return sentence(`${messageOf(error)}.`);
  }
}
