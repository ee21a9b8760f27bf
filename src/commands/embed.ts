// `embed FILES…`: features of images and texts, into a file or onto standard output. Features pass through: memory holds
// the names of the images and the texts, and a few batches.
import { once } from 'node:events';
import { type FileHandle, open, stat, unlink } from 'node:fs/promises';
import { misuse } from '../config/check-options.js';
import type { FlagValues } from '../config/flag.js';
import { writeAll, writeFileAtomically } from '../disk/atomic-file.js';
import { cannotWrite } from '../disk/cannot-write.js';
import { temporaryBeside } from '../disk/stale-files.js';
import { printable, UserError } from '../errors.js';
import { type BadImage, reasonOf } from '../index/bad-image.js';
import { folderImages } from '../index/folder-images.js';
import { canDrawProgress, ProgressBar, type ProgressStream } from '../logging/progress-bar.js';
import { fitted, roomOf, wrapped } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import { Retriever } from '../retriever/retriever.js';
import type { embedFlags } from './retriever-flags.js';
import { imageInput } from './score.js';
import { textLines } from './text-lines.js';

type EmbedOptions = FlagValues<typeof embedFlags>;
type Row = { id: string; kind: 'image' | 'text'; feature: Float32Array };

/** Takes rows in order. */
type Sink = (row: Row) => Promise<void>;

const TEXTS_TOGETHER = 256;
const COPY_BYTES = 2 ** 20;
/** The longest header that readers of safetensors take. */
const MAX_HEADER = 100_000_000;
const LINES_MS = 10_000;

/** Embeds images and texts. @returns the exit code: 1 where images were left out that may not be @throws UserError */
export async function embedCommand(files: readonly string[], options: EmbedOptions): Promise<0 | 1> {
  const { output } = options;
  if (files.length === 0 && options.texts === undefined)
    throw misuse('There is nothing to embed. Name images or folders, or a file of texts with --texts.');
  if (output !== undefined && !/\.(?:safetensors|jsonl)$/i.test(output))
    throw misuse(`${printable(output, 200)} is neither .safetensors nor .jsonl. Give the output one of these endings.`);
  const bad: BadImage[] = [];
  const images = await namedImages(files, bad);
  const texts = options.texts === undefined ? [] : await textLines(options.texts);
  if (images.length + texts.length === 0 && bad.length === 0)
    throw new UserError('There is nothing to embed: no images and no texts were found. Check the folders and --texts.');

  const { checkpoint, device, precision, threads, offline, batchSize } = options;
  const work = async (sink: Sink) => {
    const blip = await Retriever.open(checkpoint, { device, precision, threads, offline, batchSize });
    try {
      const window = 3 * (batchSize ?? (blip.device === 'cpu' ? 8 : 32));
      const progress = progressOf(images.length + texts.length, options.quiet, () => failed(bad, images));
      await embedImages(blip, { images, window, bad, progress }, sink);
      for (let start = 0; start < texts.length; start += TEXTS_TOGETHER) {
        const part = texts.slice(start, start + TEXTS_TOGETHER);
        for (const [i, feature] of (await blip.embedTexts(part)).entries())
          await sink({ id: part[i] ?? '', kind: 'text', feature });
        progress.add(part.length);
      }
      progress.finish();
      if (images.length + texts.length - failed(bad, images) === 0)
        throw new UserError(`None of the images could be read.${listed(bad, process.stderr)}`);
      return { checkpoint: blip.source, fingerprint: blip.fingerprint, dim: blip.embedDim };
    } finally {
      await blip.close();
    }
  };
  if (output === undefined) await work(async (row) => writeOut(lineOf(row)));
  else if (/\.jsonl$/i.test(output))
    await writeFileAtomically(output, (file) => work((row) => file.write(Buffer.from(lineOf(row)))));
  else await writeFeatures(output, work);
  if (bad.length === 0) return 0;
  const all = counted(images.length + bad.length - failed(bad, images), 'image');
  const left = `${bad.length} of ${all} cannot be read and ${bad.length === 1 ? 'is' : 'are'} left out:`;
  console.error(
    fitted(`${options.skipBadImages ? '' : 'error: '}${left}`, process.stderr) + listed(bad, process.stderr),
  );
  return options.skipBadImages ? 0 : 1;
}

/** How many of `bad` are among `images`: others were not even looked at. */
function failed(bad: readonly BadImage[], images: readonly string[]): number {
  const names = new Set(images);
  return bad.filter(({ path }) => names.has(path)).length;
}

const listed = (bad: readonly BadImage[], stream: ProgressStream) =>
  bad.map(({ reason }) => `\n${wrapped(`  ${reason}`, roomOf(stream))}`).join('');

/** The images of files and folders, in the order given. What cannot be looked at goes into `bad`. */
async function namedImages(files: readonly string[], bad: BadImage[]): Promise<string[]> {
  const images: string[] = [];
  for (const file of files) {
    if (file === '') throw misuse('The name of an image is empty. Give the path of a file or folder.');
    const isFolder = (await stat(file).catch(() => undefined))?.isDirectory() === true;
    if (!isFolder) images.push(file);
    else
      for await (const found of folderImages(file, undefined)) {
        if ('reason' in found) bad.push(found);
        else images.push(found.path);
      }
  }
  return images;
}

interface ImageWork {
  images: readonly string[];
  /** Images under way at a time. */
  window: number;
  bad: BadImage[];
  progress: Progress;
}

/** Gives the features of images to `sink` in order, as they come. */
async function embedImages(blip: Retriever, { images, window, bad, progress }: ImageWork, sink: Sink): Promise<void> {
  const line: { id: string; result: Promise<Float32Array | Error> }[] = [];
  const takeFirst = async () => {
    const first = line.shift();
    if (first === undefined) return;
    const { id } = first;
    const result = await first.result;
    if (result instanceof Error) bad.push({ id, path: id, reason: reasonOf(result) });
    else await sink({ id, kind: 'image', feature: result });
    progress.add(1);
  };
  for (const id of images) {
    if (line.length >= window) await takeFirst();
    const asError = (error: unknown) => (error instanceof Error ? error : new Error(String(error)));
    line.push({ id, result: blip.embedImage(imageInput(id)).catch(asError) });
  }
  while (line.length > 0) await takeFirst();
}

function lineOf({ id, kind, feature }: Row): string {
  return `${JSON.stringify({ id, kind, feature: Array.from(feature) })}\n`;
}

/** Waits where the reader is slower. */
async function writeOut(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

/** Writes a .safetensors file. Its header comes first and names what was read: features wait in a file without a name. */
async function writeFeatures(
  output: string,
  work: (sink: Sink) => Promise<{ checkpoint: string; fingerprint: string; dim: number }>,
): Promise<void> {
  const path = temporaryBeside(output);
  const rows = await open(path, 'wx+').catch((error: unknown) => {
    throw cannotWrite(output, error);
  });
  try {
    await unlink(path); // whatever ends this process, nothing stays
    const ids: string[] = [];
    let images = 0;
    const { dim, ...facts } = await work(async ({ id, kind, feature }) => {
      ids.push(id);
      if (kind === 'image') images += 1;
      await writeAll(output, rows, new Uint8Array(feature.buffer, feature.byteOffset, feature.byteLength));
    });
    const bytes = ids.length * dim * 4;
    const header = Buffer.from(
      JSON.stringify({
        __metadata__: { ids: JSON.stringify(ids), images: `${images}`, texts: `${ids.length - images}`, ...facts },
        features: { dtype: 'F32', shape: [ids.length, dim], data_offsets: [0, bytes] },
      }),
    );
    if (header.length > MAX_HEADER)
      throw new UserError(`${ids.length} names are too many for one .safetensors file. End the output in .jsonl.`);
    const padded = Buffer.alloc(8 + Math.ceil(header.length / 8) * 8, ' ');
    padded.writeBigUInt64LE(BigInt(padded.length - 8));
    header.copy(padded, 8);
    await writeFileAtomically(output, async (file) => {
      await file.write(padded);
      for await (const part of partsOf(rows, bytes)) await file.write(part);
    });
  } finally {
    await rows.close();
  }
}

async function* partsOf(file: FileHandle, bytes: number): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < bytes; ) {
    const part = new Uint8Array(Math.min(COPY_BYTES, bytes - done));
    const { bytesRead } = await file.read(part, 0, part.length, done);
    if (bytesRead === 0) throw new RangeError(`Expected ${bytes} bytes of features but received ${done}.`);
    yield part.subarray(0, bytesRead);
    done += bytesRead;
  }
}

interface Progress {
  add(count: number): void;
  finish(): void;
}

/** On standard error: a bar on a terminal, else a line now and then. */
function progressOf(total: number, quiet: boolean, unread: () => number): Progress {
  if (quiet || total === 0) return { add: () => {}, finish: () => {} };
  const stream = process.stderr;
  const bar = canDrawProgress(stream) ? new ProgressBar('Embedding', total, { stream }) : undefined;
  let done = 0;
  let said = performance.now();
  const say = () => console.error(`Embedded ${done - unread()} of ${total}.`);
  return {
    add: (count) => {
      done += count;
      bar?.update(done);
      if (bar !== undefined || performance.now() - said < LINES_MS) return;
      said = performance.now();
      say();
    },
    finish: () => {
      bar?.finish();
      if (bar === undefined) say();
    },
  };
}
