// Opening and making indexes, wherever their rows lie.
import { resolve } from 'node:path';
import {
  booleanRule,
  checkOptions,
  functionRule,
  misuse,
  type Rule,
  signalRule,
  textRule,
} from '../config/check-options.js';
import { kindOf, printable, UserError } from '../errors.js';
import { badImageRule, type OnBadImage } from '../index/bad-image.js';
import type { Encoder } from '../index/encoder.js';
import { demandFolder } from '../index/folder-images.js';
import { FolderStore } from '../index/folder-store.js';
import { demandSameModel, ImageIndex } from '../index/image-index.js';
import { manifestStamp } from '../index/manifest.js';
import type { IndexFacts, IndexStore } from '../index/store.js';

export interface CreateIndexOptions {
  /** Folder of the index; by default the images' own with `.index` after it: `photos.index` of `photos/`. */
  output?: string | undefined;
  /** `postgres://…`: the index lies in a database instead of a folder. */
  store?: string | undefined;
  /** Patterns of the files to index, such as `'**\/*.jpg'`; all image files by default. `!…` leaves files out. */
  include?: string | readonly string[] | undefined;
  /** Keep the image tokens, 0.9 MB an image at base size, so that re-ranking need not encode images again. */
  keepTokens?: boolean | undefined;
  /** What to do about images that cannot be read: `throw` by default. */
  onBadImage?: OnBadImage | undefined;
  /** Called as images are done: how many are, and of how many. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  /** Stops the work; what was added until then stays. */
  signal?: AbortSignal | undefined;
}

const rules: Record<keyof CreateIndexOptions, Rule> = {
  output: textRule,
  store: [(value) => typeof value === 'string' && isAddress(value), "an address that begins with 'postgres://'"],
  include: [
    (value) =>
      (typeof value === 'string' && value !== '') ||
      (Array.isArray(value) && value.length > 0 && value.every((each) => typeof each === 'string' && each !== '')),
    "a pattern such as '**/*.jpg', or an array of patterns",
  ],
  keepTokens: booleanRule,
  onBadImage: badImageRule,
  onProgress: functionRule,
  signal: signalRule,
};

type Checked = Omit<CreateIndexOptions, 'include'> & {
  folder: string;
  include: readonly string[] | undefined;
};

const isAddress = (name: string) => /^postgres(?:ql)?:\/\//i.test(name);

/** @throws UserError that names the argument or option */
export function checkCreateIndex(folder: unknown, options: unknown): Checked {
  const { include, ...others } = checkOptions<CreateIndexOptions>('createIndex', rules, options);
  if (typeof folder !== 'string' || folder === '')
    throw misuse(`\`folder\` is ${folder === '' ? 'an empty text' : kindOf(folder)}. Give the path of a folder.`);
  if (others.output !== undefined && others.store !== undefined)
    throw misuse('createIndex has both `output` and `store`. Give one of them.');
  return { ...others, folder: resolve(folder), include: typeof include === 'string' ? [include] : include };
}

/** Opens or makes the index, and brings it to what the folder has. */
export async function createIndex(encoder: Encoder, checked: Checked): Promise<ImageIndex> {
  const { folder, include, keepTokens, onBadImage, onProgress, signal } = checked;
  signal?.throwIfAborted();
  await demandFolder(folder); // before an index of it is made
  const { fingerprint, source, imageSize, embedDim } = encoder;
  const facts: IndexFacts = {
    ...{ fingerprint, source, imageSize, embedDim, folder, keepsTokens: keepTokens ?? false },
    ...(include !== undefined && { include: [...include] }),
  };
  const store = await openOrMake(checked, facts, encoder, signal);
  try {
    demandSameModel(store, encoder);
    demandSameFacts(store, facts);
    const index = await ImageIndex.of(store, encoder);
    await index.sync({ onBadImage, onProgress, signal });
    return index;
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openOrMake(
  { folder, output = `${folder}.index`, store }: Checked,
  facts: IndexFacts,
  encoder: Encoder,
  signal: AbortSignal | undefined,
): Promise<IndexStore> {
  if (store !== undefined) {
    const { createPostgresStore } = await import('../index/postgres/store.js');
    return createPostgresStore(store, facts);
  }
  const isThere = (await manifestStamp(resolve(output))) !== undefined;
  return isThere ? FolderStore.open(output, encoder.scan, signal) : FolderStore.create(output, facts, encoder.scan);
}

/** @throws UserError where the index that is there is of another folder, other patterns, or has no tokens */
function demandSameFacts(store: IndexStore, wanted: IndexFacts): void {
  const shown = ({ folder, include, keepsTokens }: IndexFacts) => [
    folder ?? 'no folder',
    include?.join(' ') ?? 'all images',
    keepsTokens ? 'with tokens' : 'without tokens',
  ];
  const [has, wants] = [shown(store.facts), shown(wanted)];
  const other = has.findIndex((fact, i) => fact !== wants[i]);
  if (other < 0) return;
  throw new UserError(
    `The index ${store.name} is there already, and is of something else (${printable(`${has[other]}`, 200)}, not ${printable(`${wants[other]}`, 200)}). Open it with openIndex, or give another \`output\`.`,
  );
}

/** @throws UserError where there is no index, or it is of another model */
export async function openIndex(encoder: Encoder, name: unknown, signal: AbortSignal | undefined): Promise<ImageIndex> {
  signal?.throwIfAborted();
  if (typeof name !== 'string' || name === '')
    throw misuse(`\`index\` is ${name === '' ? 'an empty text' : kindOf(name)}. Give the folder of an index.`);
  const store = await openStore(name, encoder, signal);
  try {
    return await ImageIndex.of(store, encoder);
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openStore(name: string, encoder: Encoder, signal: AbortSignal | undefined): Promise<IndexStore> {
  if (!isAddress(name)) return FolderStore.open(name, encoder.scan, signal);
  const { openPostgresStore } = await import('../index/postgres/store.js');
  return openPostgresStore(name);
}
