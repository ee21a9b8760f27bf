// manifest.json of an index's folder: which segments it has. Its renaming is what commits a change, and nothing else is.
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { schema, type ValueOf, zod } from '../disk/schema.js';
import { codeOf, messageOf, printable, UserError } from '../errors.js';

const FORMAT = 'blip-retrieval index';
const VERSION = 1;
const MANIFEST = 'manifest.json';
/** Folder of the segments' files. */
export const SEGMENTS = 'segments';

/** Names of files without their endings: nothing that leads out of the folder. */
const fileName = schema((z) => z.string().regex(/^[0-9a-z]{1,40}(?:-[0-9a-z]{1,40}){0,2}$/));
const count = schema((z) =>
  z
    .number()
    .int()
    .min(0)
    .max(2 ** 31 - 1),
);

const segmentSchema = schema((z) =>
  z
    .strictObject({
      /** Of NAME.safetensors, NAME.jsonl and, with tokens, NAME.tokens.safetensors. */
      name: fileName(),
      rows: count().min(1),
      /** Of NAME.removed in `segments`: a byte for each row, 1 where the image was removed or replaced since. */
      tombstones: fileName().optional(),
      removed: count().default(0),
    })
    .refine(({ rows, removed, tombstones }) => removed <= rows && (tombstones !== undefined) === removed > 0),
);

export const factsSchema = schema((z) =>
  z.strictObject({
    fingerprint: z.string().min(1).max(200),
    source: z.string().max(10_000),
    imageSize: count().min(1),
    embedDim: count().min(1).max(65_536),
    /** Relative to the index's own folder, or absolute. */
    folder: z.string().min(1).max(10_000).optional(),
    include: z.array(z.string().max(10_000)).max(1000).optional(),
    keepsTokens: z.boolean(),
  }),
);

const manifestSchema = schema((z) =>
  z.strictObject({
    format: z.literal(FORMAT),
    version: z.literal(VERSION),
    facts: factsSchema(),
    /** Of the next segment; only ever grows. */
    next: count(),
    segments: z.array(segmentSchema()).max(100_000),
  }),
);

export type SegmentEntry = ValueOf<typeof segmentSchema>;
export type ManifestFacts = ValueOf<typeof factsSchema>;
export type Manifest = ValueOf<typeof manifestSchema>;

export function emptyManifest(facts: ManifestFacts): Manifest {
  return { format: FORMAT, version: VERSION, facts, next: 1, segments: [] };
}

/** Which manifest it is: another one after every commit. Undefined where there is none. */
export async function manifestStamp(index: string): Promise<string | undefined> {
  const found = await stat(join(index, MANIFEST), { bigint: true }).catch(() => undefined);
  return found === undefined ? undefined : `${found.ino} ${found.mtimeNs} ${found.size}`;
}

/** @throws UserError where there is none, or what is there is no manifest of this version */
export async function readManifest(index: string): Promise<Manifest> {
  const path = join(index, MANIFEST);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw cannotRead(index, path, error);
  });
  const value = parsed(path, text);
  const result = manifestSchema().safeParse(value);
  if (result.success && new Set(result.data.segments.map(({ name }) => name)).size === result.data.segments.length)
    return result.data;
  const z = zod();
  const { format, version } = z
    .looseObject({ format: z.unknown(), version: z.unknown() })
    .catch({
      format: undefined,
      version: undefined,
    })
    .parse(value);
  if (format !== FORMAT) throw new UserError(`${path} is not of an index. ${ANOTHER}`);
  if (version !== VERSION)
    throw new UserError(
      `${index} is an index of version ${printable(String(version))}, and this program reads version ${VERSION}. Make the index again, or take the program that wrote it.`,
    );
  const issue = result.error?.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? '' : ` (at ${printable(issue.path.join('.'))})`;
  throw new UserError(`${path} is damaged${where}. ${AGAIN}`);
}

export const AGAIN = 'Make the index again.';
const ANOTHER = 'Name the folder of an index, such as `photos.index`.';

function parsed(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path} is damaged: it is no JSON. ${AGAIN}`, { cause: error });
  }
}

function cannotRead(index: string, path: string, error: unknown): UserError {
  const cause = error;
  switch (codeOf(error)) {
    case 'ENOENT':
      return new UserError(`There is no index at ${index}. Make one with createIndex, or check the path.`, { cause });
    case 'ENOTDIR':
      return new UserError(`${index} is a file, not the folder of an index. ${ANOTHER}`, { cause });
    default:
      return new UserError(`${path} cannot be read (${messageOf(error)}). Check its permissions.`, { cause });
  }
}

/** Commits. @throws UserError where the file system refuses; then nothing has changed */
export async function writeManifest(index: string, manifest: Manifest): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify(manifest, undefined, 1)}\n`);
  await writeFileAtomically(join(index, MANIFEST), (file) => file.write(bytes));
}
