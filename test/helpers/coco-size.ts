// A data set of COCO's size in its layout, and what a run of the command line on it costs.
import { spawn } from 'node:child_process';
import { linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '#blip/data/random.js';
import { cliPath } from './run-cli.js';
import { tinyData } from './tiny-run.js';

/** Sizes of COCO's Karpathy splits: images, and captions of all of them. */
export const COCO = { train: [113_287, 566_747], val: [5_000, 25_010], test: [5_000, 25_010] } as const;

const WORDS = (
  'a the of on in with and two three man woman child people group dog cat bird horse train bus street road field beach ' +
  'water snow table kitchen room window bench board ball racket plate pizza cake fruit clock sign light tree grass hill ' +
  'red blue green white black brown large small young old wooden standing sitting riding walking holding eating playing ' +
  'looking next to near over under behind front top side while his her their some very filled covered parked'
).split(' ');

/** Captions of COCO's length: 10.5 words on average. */
function caption(random: Random): string {
  return Array.from({ length: 8 + random.below(6) }, () => random.pick(WORDS)).join(' ');
}

/** How many captions image `i` has, so that all together are `captions`: five, and six of the first ones. */
function captionsOf(i: number, images: number, captions: number): number {
  const five = Math.floor(captions / images);
  return five + (i < captions - five * images ? 1 : 0);
}

/** The few pictures of rule_tiny. */
function tinyPictures(): Buffer[] {
  return readdirSync(join(tinyData, 'images'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name)));
}

/**
 * Writes the annotations of these splits below `folder`, with an image file for each image, whose names are COCO's: a hard
 * link to one of `pictures`, the bytes of JPEG files.
 */
export function writeCocoSize(
  folder: string,
  splits: Partial<Record<keyof typeof COCO, readonly [images: number, captions: number]>>,
  pictures: readonly Buffer[] = tinyPictures(),
): { imageRoot: string; annRoot: string } {
  const folders = { imageRoot: join(folder, 'images'), annRoot: join(folder, 'annotation') };
  mkdirSync(folders.annRoot, { recursive: true });
  const files = pictures.map((bytes, i) => {
    const path = join(folder, `picture${i}.jpg`);
    writeFileSync(path, bytes);
    return path;
  });
  const random = new Random(2014);
  for (const [split, [images, captions]] of Object.entries(splits)) {
    const name = split === 'train' ? 'train2014' : 'val2014';
    mkdirSync(join(folders.imageRoot, name), { recursive: true });
    const rows: object[] = [];
    for (let i = 0; i < images; i++) {
      const id = `${split === 'test' ? 1 : 0}${String(i).padStart(11, '0')}`;
      const image = `${name}/COCO_${name}_${id}.jpg`;
      linkSync(random.pick(files), join(folders.imageRoot, image));
      const texts = Array.from({ length: captionsOf(i, images, captions) }, () => caption(random));
      if (split === 'train') rows.push(...texts.map((text) => ({ caption: text, image, image_id: `coco_${i}` })));
      else rows.push({ image, caption: texts });
    }
    if (split === 'train') shuffle(rows, random);
    writeFileSync(join(folders.annRoot, `coco_karpathy_${split}.json`), JSON.stringify(rows));
  }
  return folders;
}

/** COCO's rows are in no order of images. */
function shuffle(rows: unknown[], random: Random): void {
  for (let i = rows.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [rows[i], rows[j]] = [rows[j], rows[i]];
  }
}

export interface Cost {
  stdout: string;
  /** Of the command and all that it started. */
  cpuSeconds: number;
  /** The largest memory of a single process. */
  peakBytes: number;
}

/** CPU ticks of a process and of its children that have ended, and the most memory it has had; zeros once it is gone. */
function usage(pid: number): { ticks: number; peakBytes: number; parent: number } {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const [, parent = 0] = fields;
    const ticks = fields.slice(11, 15).reduce((sum, value) => sum + value, 0);
    const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return { ticks, parent, peakBytes: Number(peak ?? 0) * 1024 };
  } catch {
    return { ticks: 0, parent: 0, peakBytes: 0 };
  }
}

/** Runs the command line and measures it and its ranks. @throws Error with what it printed when it fails */
export async function costOf(args: readonly string[]): Promise<Cost> {
  // A shell around it stays until it has ended, and knows the CPU time of all its children.
  const child = spawn('bash', ['-c', 'TIMEFORMAT="cpu %U %S"; time "$@"', 'bash', process.execPath, cliPath, ...args]);
  const [out, err] = [[] as Buffer[], [] as Buffer[]];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  let peakBytes = 0;
  const watch = setInterval(() => {
    for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
      if (isBelow(Number(name), child.pid ?? 0)) peakBytes = Math.max(peakBytes, usage(Number(name)).peakBytes);
    }
  }, 200);
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearInterval(watch);
  const [stdout, stderr] = [Buffer.concat(out).toString(), Buffer.concat(err).toString()];
  if (code !== 0) throw new Error(`exit ${code}\n${stdout.slice(-2000)}\n${stderr.slice(-2000)}`);
  const [, user = '', system = ''] = /cpu ([\d.]+) ([\d.]+)\s*$/.exec(stderr) ?? [];
  return { stdout, cpuSeconds: Number(user) + Number(system), peakBytes };
}

function isBelow(pid: number, ancestor: number): boolean {
  for (let at = pid; at > 1; at = usage(at).parent) if (at === ancestor) return true;
  return false;
}
