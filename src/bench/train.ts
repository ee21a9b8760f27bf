// `bench train`: the same training steps by this program and by a checkout of salesforce/BLIP, alternately, in one run.
import { at } from '../errors.js';
import {
  alternate,
  type ComparisonOptions,
  checkpointOf,
  type ModelOptions,
  machine,
  scratchFolder,
} from './harness.js';
import { Trained } from './protocol.js';
import { peakMemory, type Summary, summary } from './statistics.js';
import { drawInputs } from './workload.js';

export interface TrainBenchOptions extends ComparisonOptions, ModelOptions {
  /** Blocks at the vision encoder's end that recompute their activations; 0 for none. */
  vit_ckpt_layer: number;
  /** Steps that are measured in a turn, after WARM_UP others. */
  steps: number;
}

export type TrainReport = Awaited<ReturnType<typeof benchTrain>>;

/** The first step makes the optimizer's state, the second still lets the heap grow: neither is what a long run sees. */
const WARM_UP = 2;

/**
 * Trains with both programs on the same images, captions and weights. Every turn has a process of its own: it starts
 * with the same weights, its peak of memory is its own, and the two models never share the machine's memory.
 * @throws UserError when either program cannot run, with what it lacks
 */
export async function benchTrain(options: TrainBenchOptions) {
  const { vit, image_size, queue_size, device, precision, vit_ckpt_layer, batch } = options;
  const startedOn = machine();
  const folder = scratchFolder();
  const count = (options.steps + WARM_UP) * batch;
  const inputs = await drawInputs(folder, options, count, count);
  const checkpoint = await checkpointOf(options, folder);
  const { versions, turns } = await alternate(folder, {
    ...options,
    fresh: true,
    load: { op: 'load_training', checkpoint, vit, image_size, queue_size, device, precision, vit_ckpt_layer },
    command: () => ({ op: 'train', ...inputs }),
    answer: Trained,
    told: ({ seconds }) =>
      `seconds a step: ${measured(seconds)
        .map((step) => step.toFixed(2))
        .join(' ')}`,
  });

  const own = { versions: versions.own, ...figures(turns.own) };
  const reference = { versions: versions.reference, ...figures(turns.reference) };
  // How many of our steps there are in the time of one of the reference's.
  const ratio = (of: keyof Summary) => reference.step_seconds[of] / own.step_seconds[of];
  return { machine: startedOn, options, own, reference, ratio: { best: ratio('min'), median: ratio('median') } };
}

const measured = (seconds: readonly number[]) => seconds.slice(WARM_UP);

/** CPU seconds a step are of all threads, warm-up included; losses are of the last round. */
function figures(turns: readonly Trained[]) {
  const { loss_itm, loss_ita } = at(turns, turns.length - 1);
  return {
    step_seconds: summary(turns.flatMap(({ seconds }) => measured(seconds))),
    cpu_seconds: summary(turns.map(({ cpu, seconds }) => cpu / seconds.length)),
    ...peakMemory(turns.map(({ memory }) => memory)),
    losses: { loss_itm, loss_ita },
  };
}
