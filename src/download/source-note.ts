// The note beside a downloaded file that says where it is from: FILE.url.json. Two addresses may end in the same name.
import { stat } from 'node:fs/promises';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { readJson } from '../disk/json-file.js';
import { schema } from '../disk/schema.js';

const SourceNote = schema((z) => z.object({ url: z.string(), bytes: z.number() }));

const notePath = (path: string) => `${path}.url.json`;

/** Parameters that change with every signature or choose how the same file is sent. */
const PASSING =
  /^(?:x-(?:amz|goog)-.*|signature|expires|key-pair-id|policy|awsaccesskeyid|googleaccessid|s[vrpet]|spr|sig|token|access_token|download|raw|dl)$/i;

/** An address as far as it says which file it means: without user, password, signature and fragment. */
export function sourceText(url: URL): string {
  const kept = [...url.searchParams].filter(([name]) => !PASSING.test(name)).sort(([a], [b]) => (a < b ? -1 : 1));
  const query = new URLSearchParams(kept).toString();
  return `${url.origin}${url.pathname}${query === '' ? '' : `?${query}`}`;
}

/**
 * Where the file `path` is from; undefined where nobody has noted it, as of files of Python's torch.hub, or where the file
 * has been replaced since.
 */
export async function sourceOf(path: string): Promise<string | undefined> {
  const note = readJson(notePath(path), SourceNote);
  if (note === undefined) return undefined;
  const found = await stat(path).catch(() => undefined);
  return found?.size === note.bytes ? note.url : undefined;
}

/** Notes it; the file itself may come later. */
export async function rememberSource(path: string, url: URL, bytes: number): Promise<void> {
  const text = `${JSON.stringify({ url: sourceText(url), bytes })}\n`;
  await writeFileAtomically(notePath(path), (file) => file.write(Buffer.from(text)));
}
