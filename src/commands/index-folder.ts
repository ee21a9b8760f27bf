// `index`: makes an index of a folder's images, or brings it up to date.
import { isAbsolute, relative, resolve } from 'node:path';
import { exitCodeOf } from '../distributed/signals.js';
import { printable, UserError } from '../errors.js';
import type { BadImage } from '../index/bad-image.js';
import { demandFolder } from '../index/folder-images.js';
import type { ImageIndex } from '../index/image-index.js';
import type { Recall } from '../index/recall.js';
import type { SyncReport } from '../index/sync.js';
import { fitted, roomOf, wrapped } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import { StopSignals } from '../training/stop-signals.js';
import type { IndexFlags } from './index-flags.js';
import { inCommands, openModel, recordedFactsIfThere } from './index-model.js';
import { IndexProgress } from './index-progress.js';
import { commandText, shellWord } from './shell-word.js';

/** What an approximate index may miss: never silently. */
function recallLine({ images, texts, queries, top }: Recall): string {
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  return `The index is approximate: a search finds ${percent(images)} of the ${top} most similar images for an image, and ${percent(texts)} for a query as far from images as captions are (${queries} of each, compared with all images). search=exact in the address compares all.`;
}

/** Bad images that are listed; of more, the count is enough. */
const LISTED = 20;

/** The command. Results go to stdout, all else to stderr; sets the exit code. @throws UserError */
export function indexCommand(folder: string, flags: IndexFlags): Promise<void> {
  return inCommands(() => indexFolder(folder, flags));
}

async function indexFolder(folder: string, flags: IndexFlags): Promise<void> {
  const { output, store, json, strict } = flags;
  if (folder === '') throw new UserError('FOLDER is an empty text. Give the path of a folder.', { exitCode: 2 });
  if (output === '') throw new UserError('--output is an empty text. Give the path of a folder.', { exitCode: 2 });
  if (output !== undefined && store !== undefined)
    throw new UserError('--output and --store both say where the index goes. Give one of them.', { exitCode: 2 });
  const root = resolve(folder);
  await demandFolder(root); // before a model is downloaded
  const place = store ?? output ?? `${root}.index`;
  const facts = await recordedFactsIfThere(place);
  const stop = new AbortController();
  const signals = new StopSignals({
    onCaught: (name) => stop.abort(new UserError(`Stopped by ${name}.`)),
    ...(process.stderr.isTTY && { noted: () => 'Stopping after the images that are being encoded.' }),
  });
  signals.watch();
  const progress = new IndexProgress(process.stderr);
  try {
    await using blip = await openModel(flags, facts?.source);
    const include = flags.include.length > 0 ? flags.include : facts?.include;
    await using index = await blip.createIndex(root, {
      ...(store === undefined ? { output: place } : { store }),
      include,
      keepTokens: flags.keepTokens || (facts?.keepsTokens ?? false),
      onBadImage: 'skip',
      onProgress: (done, total) => progress.update(done, total),
      signal: stop.signal,
    });
    progress.finish();
    const { lastSync: report } = index;
    if (report === undefined) throw new TypeError('An index that was just made has no report.');
    console.log(json ? JSON.stringify(asJson(index, report)) : asText(index, report));
    const recall = await index.recall({ signal: stop.signal }); // undefined where every search compares all images
    if (recall !== undefined) console.error(fitted(recallLine(recall), process.stderr));
    if (index.size === 0) {
      const chosen = include === undefined ? '' : ` that ${include.map(shellWord).join(' ')} chooses`;
      const empty = `There is no image in ${printable(root, 1000)}${chosen}: the index is empty.`;
      console.error(fitted(`${empty} Check the folder and --include.`, process.stderr));
    }
    tellBad(report.bad);
    if (strict && report.bad.length > 0) process.exitCode = 1;
  } catch (error) {
    progress.finish();
    if (signals.caught === undefined) throw error;
    const kept = 'What was encoded so far is kept; the same command goes on from there.';
    console.error(fitted(`Stopped by ${signals.caught}. ${kept}`, process.stderr));
    process.exitCode = exitCodeOf(signals.caught);
  } finally {
    signals.release();
  }
}

function asJson(index: ImageIndex, { bad, ...counts }: SyncReport): object {
  return { index: index.name, checkpoint: index.facts.source, images: index.size, ...counts, bad };
}

function asText(index: ImageIndex, { added, changed, renamed, removed, unchanged, bad }: SyncReport): string {
  const counts = Object.entries({ added, changed, renamed, removed, unchanged, bad: bad.length })
    .filter(([name, count]) => count > 0 || name !== 'renamed')
    .map(([name, count]) => `${count} ${name}`);
  const summary = fitted(`${index.name}: ${counted(index.size, 'image')} (${counts.join(', ')})`);
  return `${summary}\nTo search it:\n${searchCommand(index.name, 'a dog in snow')}`;
}

/** A command that searches the index `name`. An index below this folder is named from here. */
export function searchCommand(name: string, query: string, more: readonly string[] = []): string {
  const way = isAbsolute(name) ? relative(process.cwd(), name) : '';
  const short = way === '' || way.startsWith('..') ? name : way;
  const operand = short.startsWith('-') ? `./${short}` : short; // not a flag
  return commandText('search', [shellWord(operand), `"${query}"`, ...more]);
}

function tellBad(bad: readonly BadImage[]): void {
  if (bad.length === 0) return;
  console.error(`${counted(bad.length, 'image')} cannot be read and ${bad.length === 1 ? 'is' : 'are'} left out:`);
  for (const { reason } of bad.slice(0, LISTED))
    console.error(wrapped(`  ${printable(reason, 1000)}`, roomOf(process.stderr)));
  if (bad.length > LISTED) console.error(`  and ${bad.length - LISTED} more; --json lists them all.`);
}
