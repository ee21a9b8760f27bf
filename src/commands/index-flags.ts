// The flags of `index` and `search`.
import { type FlagValues, flag, whole } from '../config/flag.js';
import { runFlags } from '../training/options.js';
import { withFlagNames } from './flags.js';

const modelFlags = {
  checkpoint: flag<string | undefined>(
    '<name>',
    "the model: a name that `models` lists, a file, a folder, hf:OWNER/NAME or a URL (default: the index's own)",
    undefined,
  ),
  device: runFlags.device,
  precision: runFlags.precision,
  threads: flag<number | undefined>('<n>', 'threads that compute on a CPU (default: all cores)', undefined, whole(1)),
};

export const indexFlags = {
  output: flag<string | undefined>('<folder>', 'folder of the index (default: FOLDER.index beside FOLDER)', undefined),
  include: flag<string[]>('<glob>', "files to index, such as '**/*.jpg'; '!…' leaves out; may be repeated", []),
  keep_tokens: flag('', 'keep image tokens: re-ranking is fast then; 0.9 MB an image at base size', false),
  store: flag<string | undefined>('<address>', 'postgres://…: the index lies in a database', undefined),
  ...modelFlags,
  batch_size: flag<number | undefined>(
    '<n>',
    'images encoded together (default: 8 on a CPU, 32 on a GPU)',
    undefined,
    whole(1),
  ),
  strict: flag('', 'exit code 1 where an image cannot be read', false),
  json: flag('', 'print JSON', false),
};

export const searchFlags = {
  top: flag('<n>', 'images to find', 10, whole(1)),
  rerank: flag<number | undefined>(
    '<n>',
    'how many of the most similar images are matched with the text by the ITM head (default: 16 on a GPU, 0 on a CPU)',
    undefined,
    whole(0),
  ),
  image: flag('', 'the query is the path of an image', false),
  text: flag('', 'the query is a text, even where a file has that name', false),
  html: flag<string | undefined>('<file>', 'write a page with thumbnails', undefined),
  json: flag('', 'print JSON', false),
  ...modelFlags,
};

export type IndexFlags = FlagValues<typeof indexFlags>;
export type SearchFlags = FlagValues<typeof searchFlags>;

/** A sentence of the library, which names options and methods, as a user of these commands reads it. */
export function asIndexCommands(message: string): string {
  return withFlagNames(message, { ...indexFlags, ...searchFlags })
    .replace('Open it with openIndex, or give', 'Give')
    .replace(/(?:Make one|make an index) with createIndex/, (text) =>
      text.replace('createIndex', '`blip-retrieval index FOLDER`'),
    )
    .replace('and the retriever has', 'and --checkpoint names');
}
