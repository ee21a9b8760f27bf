// The flags of `index` and `search`.
import type { Command, Option } from 'commander';
import { type FlagValues, flag, whole } from '../config/flag.js';
import { runFlags } from '../training/options.js';
import { addFlags, flagValues, withFlagNames } from './flags.js';

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

const INDEX_HELP = `
An index that is there is brought up to date: only new and changed images are
encoded, by the model that it was made with. A new one takes coco-base. Ctrl-C
keeps what was done; the same command goes on.`;

/** Declares both commands. */
export function addIndexCommands(add: (name: string, description: string) => Command): void {
  const index = add('index', 'make an index of a folder of images for `search`, or bring it up to date');
  addFlags(index.argument('<folder>'), indexFlags).addHelpText('after', INDEX_HELP);
  shorten(index, 'output', '-o');
  index.action(async (folder: string) =>
    (await import('./index-folder.js')).indexCommand(folder, flagValues(index, indexFlags)),
  );
  const search = add('search', 'find the images of an index that fit a text, or look like an image');
  search
    .argument('<index>', 'the folder of an index, or postgres://…')
    .argument('<query>', 'a text, or the path of an image');
  addFlags(search, searchFlags);
  shorten(search, 'top', '-k');
  search.action(async (name: string, query: string) =>
    (await import('./search.js')).searchCommand(name, query, flagValues(search, searchFlags)),
  );
}

function shorten(command: Command, name: string, short: string): void {
  const option = command.options.find((each: Option) => each.name() === name);
  if (option === undefined) return;
  option.short = short;
  option.flags = `${short}, ${option.flags}`;
}

/** A sentence of the library, which names options and methods, as a user of these commands reads it. */
export function asIndexCommands(message: string): string {
  return withFlagNames(message, { ...indexFlags, ...searchFlags })
    .replace('Open it with openIndex, or give', 'Give')
    .replace(/(?:Make one|make an index) with createIndex/, (text) =>
      text.replace('createIndex', '`blip-retrieval index FOLDER`'),
    )
    .replace('and the retriever has', 'and --checkpoint names');
}
