// `embed` and `score`: what a Retriever does, on the command line.
import type { Command } from 'commander';
import { addFlags, addProse, flagValues } from './flags.js';
import { embedFlags, scoreFlags } from './retriever-flags.js';

const EMBED_HELP = `
Images are files, http(s) addresses, or folders, of which every image is taken.
A .safetensors file has \`features\` [n, 256], float32, each of unit length: the
images, then the texts. Its metadata has \`ids\`, a JSON list in the same order,
and the numbers of \`images\` and \`texts\`. Images that cannot be read are listed
and left out, and the exit code is then 1.`;

const SCORE_HELP = `
probability: of a match, by the ITM head. similarity: cosine of the features
(ITC). score: what an evaluation ranks by, the ITM logit plus the similarity.
A text of - stands for the lines of standard input.`;

export function declareEmbed(embed: Command): void {
  embed.argument('[files...]', 'images and folders of images');
  addProse(addFlags(embed, embedFlags), EMBED_HELP);
  short(embed, 'output', '-o');
  embed.action(async (files: string[]) => {
    process.exitCode = await (await import('./embed.js')).embedCommand(files, flagValues(embed, embedFlags));
  });
}

export function declareScore(score: Command): void {
  score.argument('<image>', 'a file or an http(s) address').argument('<texts...>', 'texts, each quoted');
  addProse(addFlags(score, scoreFlags), SCORE_HELP);
  score.action(async (image: string, texts: string[]) =>
    (await import('./score.js')).scoreCommand(image, texts, flagValues(score, scoreFlags)),
  );
}

function short(command: Command, name: string, letter: string): void {
  const option = command.options.find((each) => each.name() === name);
  if (option === undefined) return;
  option.short = letter;
  option.flags = `${letter}, ${option.flags}`;
}
