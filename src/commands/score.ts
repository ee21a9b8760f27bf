// `score IMAGE TEXT…`: how well an image fits texts.
import { misuse } from '../config/check-options.js';
import type { FlagValues } from '../config/flag.js';
import { printable } from '../errors.js';
import type { ProgressStream } from '../logging/progress-bar.js';
import { table } from '../logging/table.js';
import { roomOf } from '../logging/terminal.js';
import { type Match, Retriever } from '../retriever/retriever.js';
import type { scoreFlags } from './retriever-flags.js';
import { STDIN, textLines } from './text-lines.js';

/** Texts of one call: between them, memory is free again. */
const TOGETHER = 128;

/**
 * Prints probability, similarity and score of each text, in the order given. JSON: a list of {"text", "probability",
 * "similarity", "score"}. @throws UserError
 */
export async function scoreCommand(
  image: string,
  given: readonly string[],
  { json, ...open }: FlagValues<typeof scoreFlags>,
  out: ProgressStream = process.stdout,
): Promise<void> {
  if (given.filter((text) => text === STDIN).length > 1) throw misuse('Standard input can be read once. Give one -.');
  if (given.some((text) => text.trim() === '')) throw misuse('A text is empty. Give texts with words.');
  const texts: string[] = [];
  for (const text of given) for (const line of text === STDIN ? await textLines(STDIN) : [text]) texts.push(line);
  if (texts.length === 0) throw misuse('Standard input has no texts. Give one a line.');
  const input = imageInput(image);
  const { checkpoint, ...options } = open;
  const blip = await Retriever.open(checkpoint, options);
  try {
    const matches: Match[] = [];
    for (let start = 0; start < texts.length; start += TOGETHER)
      for (const match of await blip.match(input, texts.slice(start, start + TOGETHER))) matches.push(match);
    const rows = matches.map((match, i) => ({ text: texts[i] ?? '', ...match }));
    out.write(json ? `${JSON.stringify(rows, undefined, 2)}\n` : `${scoreTable(rows, roomOf(out))}\n`);
  } finally {
    await blip.close();
  }
}

/** What a Retriever takes for the word of a command line: an address or a path. */
export function imageInput(word: string): string | URL {
  return /^(?:https?|file):\/\//i.test(word) && URL.canParse(word) ? new URL(word) : word;
}

function scoreTable(rows: readonly (Match & { text: string })[], columns: number): string {
  const cells = rows.map(({ text, ...match }) => [
    ...[match.probability, match.similarity, match.score].map((value) => value.toFixed(4)),
    printable(text, 100),
  ]);
  return table([['probability', 'similarity', 'score', 'text'], ...cells], 'left', columns);
}
