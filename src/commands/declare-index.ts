// Declares `index` and `search` on the command line.
import type { Command } from 'commander';
import { addFlags, addProse, flagValues } from './flags.js';
import { indexFlags, searchFlags } from './index-flags.js';

const INDEX_HELP = `
An index that is there is brought up to date: only new and changed images are
encoded, by the model that it was made with. A new one takes coco-base. Ctrl-C
keeps what was done; the same command goes on.`;

export function declareIndex(index: Command): void {
  addProse(addFlags(index.argument('<folder>'), indexFlags), INDEX_HELP);
  shorten(index, 'output', '-o');
  index.action(async (folder: string) =>
    (await import('./index-folder.js')).indexCommand(folder, flagValues(index, indexFlags)),
  );
}

export function declareSearch(search: Command): void {
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
  const option = command.options.find((each) => each.name() === name);
  if (option === undefined) return;
  option.short = short;
  option.flags = `${short}, ${option.flags}`;
}
