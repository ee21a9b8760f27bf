// `bench train`: the same training steps by this program and by a checkout of salesforce/BLIP, by turns, in one run.
import { join } from 'node:path';
import { type Machine, machine } from './machine.js';
import { writeImages } from './matrices.js';
import { drawCheckpoint, startOwn, startReference, title } from './programs.js';
import { Memory, Timed, Trained, type TrainingSetting } from './protocol.js';
import { withScratch } from './scratch.js';
import { type Summary, summary } from './statistics.js';
import { drawCaptions, drawImages } from './workload.js';

export interface TrainBenchOptions extends Omit<TrainingSetting, 'checkpoint'> {
  /** Folder of a checkout of salesforce/BLIP. */
  reference: string;
  /** Python that has its packages. */
  python: string;
  /** Checkpoint file; without it one is drawn by a rule. */
  pretrained?: string;
  /** Images of a step. */
  batch: number;
  /** Steps that are measured in a turn, after WARM_UP others. */
  steps: number;
  rounds: number;
  threads: number;
  seed: number;
}

export interface TrainProgramReport {
  versions: Record<string, string>;
  /** Of every measured step of all rounds. */
  step_seconds: Summary;
  /** Of all threads, of a whole turn with its first steps, by its number of steps. */
  cpu_seconds: Summary;
  peak_bytes: number;
  device_peak_bytes?: number;
  /** Of each step of the last round. */
  losses: Pick<Trained, 'loss_itm' | 'loss_ita'>;
}

export interface TrainReport {
  machine: Machine;
  options: TrainBenchOptions;
  own: TrainProgramReport;
  reference: TrainProgramReport;
  /** How many of our steps there are in the time of one of the reference's. */
  ratio: { best: number; median: number };
}

/** The first step makes the optimizer's state, the second still lets the heap grow: neither is what a long run sees. */
const WARM_UP = 2;

interface Turn extends Trained {
  memory: Memory;
  versions: Record<string, string>;
}

/**
 * Trains with both programs on the same images, captions and weights. Every turn has a process of its own: it begins
 * with the same weights, its peak of memory is its own, and the two models never share the machine's memory.
 *
 * @param say receives a line at each step, for the user who waits
 * @throws UserError when either program cannot run, with what it lacks
 */
export async function benchTrain(options: TrainBenchOptions, say: (line: string) => void): Promise<TrainReport> {
  const at = machine();
  return await withScratch(async (folder) => {
    const count = (options.steps + WARM_UP) * options.batch;
    const images = join(folder, 'images.safetensors');
    await writeImages(images, drawImages(count, options.image_size, options.seed), count, options.image_size);
    const work = { images, captions: drawCaptions(count, options.seed), batch: options.batch };
    const checkpoint = options.pretrained ?? join(folder, 'drawn.pth');
    const { vit, image_size, queue_size, device, precision, vit_ckpt_layer } = options;
    if (options.pretrained === undefined) {
      say(`drawing the weights of vit ${vit} by a rule`);
      await drawCheckpoint({ vit, image_size, queue_size, checkpoint });
    }
    const turns: Record<'own' | 'reference', Turn[]> = { own: [], reference: [] };
    for (let round = 1; round <= options.rounds; round++) {
      for (const name of ['reference', 'own'] as const) {
        const { worker, hello } =
          name === 'own' ? await startOwn(options.threads, device) : await startReference({ ...options, folder });
        try {
          const setting = { vit, image_size, queue_size, device, precision, vit_ckpt_layer, checkpoint };
          await worker.ask({ op: 'load_training', ...setting }, Timed);
          const trained = await worker.ask({ op: 'train', ...work }, Trained);
          const memory = await worker.ask({ op: 'memory' }, Memory);
          turns[name].push({ ...trained, memory, versions: hello.versions });
          const seconds = trained.seconds.slice(WARM_UP).map((step) => step.toFixed(2));
          say(`round ${round} of ${options.rounds}: ${title[name]}, seconds a step: ${seconds.join(' ')}`);
        } finally {
          await worker.close();
        }
      }
    }
    const [own, reference] = [report(turns.own), report(turns.reference)];
    const ratio = (of: keyof Summary) => reference.step_seconds[of] / own.step_seconds[of];
    return { machine: at, options, own, reference, ratio: { best: ratio('min'), median: ratio('median') } };
  });
}

function report(turns: readonly Turn[]): TrainProgramReport {
  const last = turns.at(-1);
  if (last === undefined) throw new RangeError('no turn was measured');
  const peak = (of: (memory: Memory) => number | undefined) => Math.max(...turns.map(({ memory }) => of(memory) ?? 0));
  return {
    versions: last.versions,
    step_seconds: summary(turns.flatMap(({ seconds }) => seconds.slice(WARM_UP))),
    cpu_seconds: summary(turns.map(({ cpu, seconds }) => cpu / seconds.length)),
    peak_bytes: peak((memory) => memory.peak_bytes),
    ...(last.memory.device_peak_bytes !== undefined && {
      device_peak_bytes: peak((memory) => memory.device_peak_bytes),
    }),
    losses: { loss_itm: last.loss_itm, loss_ita: last.loss_ita },
  };
}
