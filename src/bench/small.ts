// `bench open`, `overhead`, `loader`: one small piece of work, measured in both programs alternately.
import { alternate, type ComparisonOptions, checkpointOf, machine, scratchFolder } from './harness.js';
import { type Command, Timed } from './protocol.js';
import { summary } from './statistics.js';
import { drawDataset } from './workload.js';

export type SmallReport = Awaited<ReturnType<typeof compare>>;

const PUBLISHED = { vit: 'base', image_size: 384, queue_size: 57600 } as const;

/** Opening a checkpoint: every tensor named and mapped, no number read. Without `pretrained` one of base size is drawn. */
export async function benchOpen(options: ComparisonOptions & { pretrained?: string }) {
  const checkpoint = await checkpointOf({ ...PUBLISHED, ...options }, scratchFolder());
  return await compare(options, { op: 'open', checkpoint }, 'ms to open the checkpoint', 1e3);
}

/** What one call of one operator costs beyond its arithmetic: the sum of two tensors of four elements. */
export async function benchOverhead(options: ComparisonOptions) {
  const calls = 100_000;
  return await compare(options, { op: 'overhead', calls }, 'µs a call of add', 1e6 / calls);
}

/** The evaluation transform in one thread: JPEG files of COCO's size, decoded, resized to a square, normalised. */
export async function benchLoader(options: ComparisonOptions & { images: number; image_size: number }) {
  const { images, image_size } = options;
  const folder = scratchFolder();
  await drawDataset(folder, images);
  return await compare(options, { op: 'transform', folder, image_size }, 'ms an image', 1e3 / images);
}

/** The same command in both programs; seconds times `scale` are in `unit`. */
async function compare(options: ComparisonOptions, command: Command, unit: string, scale: number) {
  const startedOn = machine();
  const work = { ...options, command: () => command, answer: Timed };
  const { versions, turns } = await alternate(scratchFolder(), work);
  const figures = (answers: typeof turns.own) => summary(answers.map(({ seconds }) => seconds * scale));
  const [own, reference] = [figures(turns.own), figures(turns.reference)];
  return { machine: startedOn, versions, unit, own, reference, ratio: reference.min / own.min };
}
