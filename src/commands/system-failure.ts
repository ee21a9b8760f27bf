// Failures of the system that may come from anywhere and that a user can mend: limits of files and processes.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { codeOf, messageOf, UserError } from '../errors.js';

/** The sentence for a failure of the system, wherever it came from; undefined for anything else. */
export function systemFailure(error: unknown): UserError | undefined {
  if (error instanceof UserError) return undefined;
  const said = messageOf(error);
  const fail = (sentence: string) => new UserError(sentence, { cause: error });
  // Node's own loader hides the code of what it could not open, or takes it for missing.
  const unopened = codeOf(error) === 'ERR_MODULE_NOT_FOUND' ? presentModule(said) : undefined;
  if (unopened !== undefined)
    return fail(
      `Too many files are open at once: ${unopened} is there and was not opened. Raise the limit, for example with "ulimit -n 4096".`,
    );
  if (codeOf(error) === 'EMFILE' || /too many open files$/.test(said.replace(/\.$/, '')))
    return fail(
      `Too many files are open at once: ${said.replace(/\.$/, '')}. Raise the limit, for example with "ulimit -n 4096".`,
    );
  switch (codeOf(error)) {
    case 'ENFILE':
      return fail(`Too many files are open on this machine: ${said}. End other programs, or raise fs.file-max.`);
    case 'EAGAIN':
      if (!said.includes('spawn')) return undefined;
      return fail(`Too many processes: ${said}. Raise the limit, for example with "ulimit -u 4096".`);
    default:
      return undefined;
  }
}

/** The file, or the package, that a message of Node's loader calls missing, where it is not. */
function presentModule(said: string): string | undefined {
  const [, path] = /^Cannot find (?:module|package) '(\/[^']+)'/.exec(said) ?? [];
  if (path === undefined) return undefined;
  return existsSync(path) || existsSync(join(dirname(path), 'package.json')) ? path : undefined;
}
