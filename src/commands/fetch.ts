// `fetch SOURCE`: a checkpoint, brought onto this machine; and what other commands do with one that is named by a user.
import { fetchPretrained, type PretrainedFile } from '../download/pretrained-file.js';
import type { ProgressStream } from '../logging/progress-bar.js';
import { fitted } from '../logging/terminal.js';

export interface FetchOptions {
  /** Download nothing: say where it is, or fail. */
  offline?: boolean;
  /** Hexadecimal SHA-256 that the file must have. */
  sha256?: string;
}

/** Prints the path of the checkpoint `source` (a short name, URL, hf:OWNER/NAME, file or folder) once it is here. */
export async function fetchCommand(
  source: string,
  options: FetchOptions = {},
  out: ProgressStream = process.stdout,
): Promise<void> {
  const { path } = await localCheckpoint(source, options);
  out.write(`${path}\n`);
}

/** The local file of any source; what is to be said of a download goes to stderr. @throws UserError */
export function localCheckpoint(
  source: string,
  { offline = false, sha256 }: FetchOptions = {},
): Promise<PretrainedFile> {
  return fetchPretrained(source, { offline, sha256, print: (line) => console.error(fitted(line, process.stderr)) });
}
