// `search`: the images of an index that fit a text, or look like an image.
import { relative, resolve } from 'node:path';
import { lookAt } from '../disk/folder.js';
import { printable, UserError } from '../errors.js';
import type { Hit, ImageIndex } from '../index/image-index.js';
import { fitted, roomOf } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import { cutStart } from '../logging/width.js';
import type { SearchFlags } from './index-flags.js';
import { inCommands, openModel, recordedFacts } from './index-model.js';

/** On standard error; on a terminal, in lines that fit. */
const say = (line: string) => console.error(fitted(line, process.stderr));

/** How many are re-ranked by default where that takes no time. */
const RERANK_ON_GPU = 16;
const IMAGE_NAME = /\.(?:avif|bmp|gif|jfif|jpe|jpe?g|png|p[bgnp]m|tiff?|webp)$/i;

/** The command: prints hits to stdout, all else to stderr. @throws UserError */
export function searchCommand(name: string, query: string, flags: SearchFlags): Promise<void> {
  return inCommands(() => search(name, query, flags));
}

async function search(name: string, query: string, flags: SearchFlags): Promise<void> {
  const { top, html, json } = flags;
  if (html === '') throw new UserError('--html is an empty text. Give the path of a file.', { exitCode: 2 });
  const asked = queryOf(query, flags);
  if ('image' in asked && (flags.rerank ?? 0) > 0)
    throw new UserError('--rerank needs a text: images are matched with it. Search by a text, or leave --rerank out.', {
      exitCode: 2,
    });
  const facts = await recordedFacts(name);
  await using blip = await openModel(flags, facts.source);
  await using index = await blip.openIndex(name);
  const onCpu = blip.device === 'cpu';
  const rerank = 'image' in asked ? 0 : (flags.rerank ?? (onCpu ? 0 : RERANK_ON_GPU));
  const hits =
    rerank > 0 && onCpu && index.size > 0
      ? await rerankOnCpu(index, asked, { top, rerank })
      : await index.search(asked, { top, rerank });
  if (html !== undefined) {
    const { writeSearchPage } = await import('./search-page.js');
    await writeSearchPage(html, { index, query: asked, hits });
    say(`The page is in ${printable(html, 1000)}.`);
  }
  if (json) {
    const results = hits.map((hit, i) => ({ rank: i + 1, ...hit }));
    console.log(JSON.stringify({ index: index.name, checkpoint: blip.source, query: asked, rerank, hits: results }));
    return;
  }
  if (index.size === 0) say(`${index.name} has no images. \`blip-retrieval index\` adds them.`);
  else console.log(hitTable(hits, process.stdout.isTTY ? roomOf(process.stdout) : undefined));
}

export type AskedQuery = { text: string } | { image: string };

/** Whether the query is an image or a text. @throws UserError */
function queryOf(query: string, { image, text }: Pick<SearchFlags, 'image' | 'text'>): AskedQuery {
  if (image && text)
    throw new UserError('--image and --text contradict each other. Give one of them.', { exitCode: 2 });
  if (query.trim() === '')
    throw new UserError('The query is an empty text. Give words, or the path of an image.', { exitCode: 2 });
  if (image) return { image: query };
  if (text) return { text: query };
  const shown = printable(query, 200);
  // No file name is that long, and the system would refuse to look.
  const found = query.length < 256 || query.includes('/') ? lookAtQuery(query) : undefined;
  if (found === 'file') {
    say(`${shown} is a file: searching by this image. With --text it is taken as words.`);
    return { image: query };
  }
  if (found === undefined && IMAGE_NAME.test(query) && !/\s/.test(query))
    say(`There is no file ${shown}: it is taken as words. With --image that is an error.`);
  return { text: query };
}

function lookAtQuery(query: string): 'file' | 'other' | undefined {
  if (query.includes('\0')) return undefined;
  try {
    const stats = lookAt(query);
    if (stats === undefined) return undefined;
    return stats.isFile() ? 'file' : 'other';
  } catch {
    return undefined; // a name that the system does not take, or a place that may not be entered
  }
}

/** Searches, and says what the re-ranking cost: on a CPU it is most of the wait. */
async function rerankOnCpu(
  index: ImageIndex,
  query: AskedQuery,
  { top, rerank }: { top: number; rerank: number },
): Promise<Hit[]> {
  const times = [performance.now()];
  await index.search(query, { top });
  times.push(performance.now());
  const hits = await index.search(query, { top, rerank });
  times.push(performance.now());
  const [start = 0, between = 0, end = 0] = times;
  const cost = Math.max(0, end - between - (between - start)) / 1000;
  const count = Math.min(rerank, index.size);
  const remedy = index.facts.keepsTokens ? '' : '; an index made with --keep_tokens re-ranks faster';
  const took = `Re-ranking ${counted(count, 'image')} took ${cost.toFixed(1)} s on the CPU${remedy}.`;
  say(took);
  return hits;
}

/** @param columns of the terminal; undefined where lines may have any length */
export function hitTable(hits: readonly Hit[], columns: number | undefined): string {
  const ranks = Math.max(4, String(hits.length).length);
  // Where it is empty and there is little room, a column is left out.
  const hasProbability =
    columns === undefined || columns >= 59 || hits.some(({ probability }) => probability !== undefined);
  const shown = <T>(cells: readonly T[]) => cells.filter((_, column) => column !== 2 || hasProbability);
  const lines = [[...shown(['rank'.padStart(ranks), 'similarity', 'probability']), 'path'].join('  ')];
  for (const [i, hit] of hits.entries()) {
    const start = shown([
      String(i + 1).padStart(ranks),
      hit.similarity.toFixed(4).padStart(10),
      (hit.probability?.toFixed(4) ?? '-').padStart(11),
    ]).join('  ');
    const path = printable(shownPath(hit), Number.MAX_SAFE_INTEGER);
    const room = columns === undefined ? Number.POSITIVE_INFINITY : Math.max(8, columns - start.length - 2);
    lines.push(`${start}  ${cutStart(path, room)}`);
  }
  return lines.join('\n');
}

/** Inside this folder, the way from it; else the whole path. Images that were given as bytes have an id alone. */
function shownPath({ path, id }: Hit): string {
  if (path === undefined) return id;
  const way = relative(process.cwd(), resolve(path));
  return way === '' || way.startsWith('..') ? path : way;
}
