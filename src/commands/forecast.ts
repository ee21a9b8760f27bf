// "About 2.2 h to go": what a run says of its length once its first batches or steps have gone by, before hours are spent.
// A real run cannot stop to measure the rest as --dry_run does: what has not been seen yet goes by the work model.
import type { RetrievalSplit } from '../data/annotations.js';
import type { Tokenizer } from '../data/tokenizer.js';
import { chooseBudgets } from '../evaluation/budgets.js';
import { evaluationSeconds, keptBytesOfImage, type SplitCounts } from '../evaluation/estimate.js';
import { stepCosts } from '../evaluation/work-split.js';
import type { LoopLog } from '../logging/metric-logger.js';
import { secondsText } from '../logging/terminal.js';
import type { Architecture } from '../model/architecture.js';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { type TrainingPlan, trainingSeconds } from '../training/estimate.js';
import { type Run, SPLITS, type SplitName } from '../training/run.js';
import type { TrainingData } from '../training/training-data.js';

/** Seconds that are measured, unless this share of the loop, and no fewer batches, are over before. The first never counts. */
const MEASURED = 5;
const SHARE = 0.1;
const LEAST = 3;
/** Shorter runs say nothing: their bars do. */
const WORTH_SAYING = 60;
/** What a text token costs without an image, as a share of what it costs with one: base has 6 of 10 products left. */
const UNIMODAL = 0.6;
/** Texts whose tokens are counted. */
const SAMPLE = 200;

/** Measures the pace of a loop's beginning; the clock is in seconds. */
class Beginning {
  #begun: { seconds: number; done: number } | undefined;
  #marks = 0;
  #over = false;

  constructor(
    readonly total: number,
    readonly now: () => number,
    readonly measured: (secondsOfUnit: number, done: number) => void,
  ) {}

  /** @param done units that are over, of `total` */
  mark(done: number): void {
    if (this.#over) return;
    const seconds = this.now();
    this.#marks += 1;
    this.#begun ??= { seconds, done };
    const [elapsed, units] = [seconds - this.#begun.seconds, done - this.#begun.done];
    if (units <= 0) return;
    if (elapsed < MEASURED && (this.#marks <= LEAST || units < this.total * SHARE)) return;
    this.#over = true;
    this.measured(elapsed / units, done);
  }
}

const clock = () => performance.now() / 1e3;

function countsOf({ images, texts }: Split, tokenizer: Tokenizer): SplitCounts {
  const step = Math.max(1, Math.floor(texts.length / SAMPLE));
  const sample = texts.filter((_, text) => text % step === 0);
  const tokens = sample.reduce((sum, text) => sum + tokenizer.encode(text).ids.length, 0);
  const each = tokens / Math.max(1, sample.length);
  return { images: images.length, texts: texts.length, distinct: texts.length, tokens: each * texts.length };
}

type Split = Pick<RetrievalSplit, 'images' | 'texts'>;
type EvaluatedRun = Pick<Run, 'tokenizer' | 'architecture' | 'ranks'> & {
  config: Pick<Run['config'], 'kTest' | 'featureMemory'>;
  options: Pick<Run['options'], 'precision'>;
  splits: Record<SplitName, Split>;
};
type Spoken = Pick<Run, 'voice'>;

/** Seconds of both splits, where encoding an image takes `image` seconds on each rank. */
export function bothSplits(run: EvaluatedRun, image: number, keptImages = Number.POSITIVE_INFINITY): number {
  const { config, splits, tokenizer, architecture, ranks } = run;
  const steps = stepCosts(architecture);
  const work = image / steps.encoding;
  const costs = {
    ...{ start: 0, image, token: UNIMODAL * steps.token * work, similarity: 0, work },
    distinctShare: 1, // not known before the candidates are; it is near 1
  };
  return SPLITS.reduce((sum, name) => {
    const counts = countsOf(splits[name], tokenizer);
    const plan = { kTest: config.kTest, steps, kept: keptImages * ranks.worldSize, ranks: ranks.worldSize };
    const { features, rerank } = evaluationSeconds(counts, costs, plan);
    return sum + features + rerank;
  }, 0);
}

/** Says how long an evaluation takes, once: while it computes the features of the first split. */
export class EvaluationForecast {
  #begun = false;

  constructor(
    readonly run: EvaluatedRun & Spoken,
    readonly model: BlipRetrieval,
    readonly now: () => number = clock,
  ) {}

  /** The log of a features loop over `total` images, watched if it is the first. */
  watch(log: LoopLog, total: number): LoopLog {
    if (this.#begun) return log;
    this.#begun = true;
    const { run, model, now } = this;
    const start = now();
    let done = 0;
    const beginning = new Beginning(total, now, (image, images) => {
      const { config, ranks, architecture, options } = run;
      const { images: budget } = chooseBudgets(model, config.featureMemory, ranks.worldSize);
      const kept = Math.floor(budget / keptBytesOfImage(architecture, options.precision));
      say(run, bothSplits(run, image, kept) - (now() - start), `, as the first ${images} images went`);
    });
    return {
      dataReady: () => log.dataReady(),
      step(count = 1, work = 0) {
        log.step(count, work);
        done += count;
        beginning.mark(done);
      },
      end: () => log.end(),
      abort: () => log.abort(),
    };
  }
}

/**
 * Multiplications of a training step: the online encoders forward and backward (three times a forward pass), the momentum
 * encoders, and three pairs for each row.
 */
export function stepWork(architecture: Architecture, batch: number, tokensOfText: number): number {
  const { encoding, keysValues, token } = stepCosts(architecture);
  const text = tokensOfText * token;
  return batch * (4 * encoding + 3 * keysValues + 4 * UNIMODAL * text + 3 * 3 * text);
}

/** `data`, whose first steps are measured; then the run says how long it takes, with its evaluations. */
export function withForecast(
  run: EvaluatedRun & Spoken,
  data: TrainingData,
  plan: TrainingPlan,
  now: () => number = clock,
): TrainingData {
  const left = trainingSeconds(plan, { step: 1, start: 0, evaluation: 0 }).steps;
  let [opened, done] = [false, 0];
  const beginning = new Beginning(left, now, (step, steps) => {
    const { tokens, texts } = countsOf(run.splits.val, run.tokenizer);
    const work = stepWork(run.architecture, data.batchSize, tokens / Math.max(1, texts));
    const image = (step / work) * stepCosts(run.architecture).encoding;
    const after = { ...plan, done: plan.done + steps };
    const { all, evaluations } = trainingSeconds(after, { step, start: 0, evaluation: bothSplits(run, image) });
    const with_ =
      evaluations === 0 ? '' : ` with ${evaluations === 1 ? 'its evaluation' : `${evaluations} evaluations`}`;
    say(run, all, `${with_}, as the first ${steps} steps went`);
  });
  return {
    ...data,
    get hasTooManyBadImages() {
      return data.hasTooManyBadImages;
    },
    open(epoch, firstStep) {
      const batches = data.open(epoch, firstStep);
      if (opened) return batches;
      opened = true;
      return {
        next() {
          if (done > 0) beginning.mark(done); // a step is over when the next batch is asked for
          done += 1;
          return batches.next();
        },
        close: () => batches.close(),
      };
    },
  };
}

function say({ voice }: Spoken, seconds: number, how: string): void {
  if (seconds < WORTH_SAYING) return;
  voice.aside(`About ${secondsText(seconds)} to go${how} (--dry_run measures more).`);
}
