// `bench train`: the same training steps by this program and by what it is measured against, alternately, in one run.
import { at } from '../errors.js';
import { begin, type ModelOptions } from './harness.js';
import { Trained } from './protocol.js';
import { alternate, both, type ComparisonOptions, loadCommands } from './rivals.js';
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
  const { vit_ckpt_layer, batch, steps } = options;
  const { machine, folder } = begin();
  const count = (steps + WARM_UP) * batch;
  const inputs = await drawInputs(folder, options, count, count);
  const measured = (seconds: readonly number[]) => seconds.slice(WARM_UP);
  const short = (seconds: readonly number[]) => seconds.map((step) => step.toFixed(2)).join(' ');
  const loads = await loadCommands(options, folder);
  const { versions, turns } = await alternate(folder, {
    ...options,
    fresh: true,
    load: both((name) => ({ ...loads[name], op: 'load_training', vit_ckpt_layer })),
    command: () => ({ op: 'train', ...inputs }),
    answer: Trained,
    told: ({ seconds }) => `seconds a step: ${short(measured(seconds))}`,
  });

  /** CPU seconds a step are of all threads, warm-up included; losses are of the last round. */
  const { own, reference } = both((name) => {
    const { loss_itm, loss_ita } = at(turns[name], turns[name].length - 1);
    return {
      versions: versions[name],
      step_seconds: summary(turns[name].flatMap(({ seconds }) => measured(seconds))),
      cpu_seconds: summary(turns[name].map(({ cpu, seconds }) => cpu / seconds.length)),
      ...peakMemory(turns[name].map(({ memory }) => memory)),
      losses: { loss_itm, loss_ita },
    };
  });
  // How many of our steps there are in the time of one of the other's.
  const ratio = (of: keyof Summary) => reference.step_seconds[of] / own.step_seconds[of];
  return { machine, options, own, reference, ratio: { best: ratio('min'), median: ratio('median') } };
}
