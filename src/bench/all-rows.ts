// The rows of `bench all`: what each measures, what it needs, and its goal (at the published base size, 384 pixels).
import { at } from '../errors.js';
import { CPU_BATCH } from '../evaluation/evaluate-retrieval.js';
import { counted } from '../logging/text.js';
import { COCO_PAIRS, extrapolateCoco } from './extrapolate.js';
import type { ModelOptions } from './harness.js';
import { startOwn } from './harness.js';
import { bytes, short } from './print.js';
import type { Processor } from './processor.js';
import { Measured, Timed } from './protocol.js';
import { benchRerank, type RerankReport } from './rerank.js';
import { alternate, both, type ComparisonOptions, loadCommands } from './rivals.js';
import { benchStart } from './start.js';
import { quantile, summary } from './statistics.js';
import { benchTrain, type TrainReport } from './train.js';

export const rowIds = [
  ...(['rerank', 'rerank-bf16', 'images-bf16', 'train', 'train-bf16', 'text-query'] as const),
  ...(['start', 'transformers', 'coco'] as const),
];
export type RowId = (typeof rowIds)[number];

export interface AllOptions extends Omit<ModelOptions, 'device' | 'precision'> {
  /** Checkout of salesforce/BLIP, and the Python that has its packages. */
  reference: string | undefined;
  python: string;
  /** Python that has a current transformers, which the reference's must not have. */
  transformers_python: string | undefined;
  images: number;
  texts: number;
  k: number;
  rounds: number;
  /** Images and steps of the rows of training. */
  train_batch: number;
  steps: number;
  vit_ckpt_layer: number;
  /** Of what is repeated for a while. */
  seconds: number;
}

export interface RowContext {
  options: AllOptions;
  processor: Processor;
  folder: string;
}

/** One measured figure. */
export interface Finding {
  work: string;
  here: string;
  goal: string;
  /** Undefined where there is no goal. */
  reached: boolean | undefined;
  note: string;
}

interface Row {
  work: string;
  /** Why it cannot be measured here. */
  lacks?(context: RowContext): string | undefined;
  measure(context: RowContext): Promise<Finding[]>;
}

/** What the other program needs, divided by what this one needs: by CPU seconds, which other programs disturb least. */
function times(
  work: string,
  { cpu, best }: { cpu: number; best: number },
  goal: number | undefined,
  note: string,
): Finding {
  const here = `${short(cpu)} times by CPU seconds, ${short(best)} by the best round`;
  if (goal === undefined) return { work, here, goal: '', reached: undefined, note };
  return { work, here, goal: `${goal} times`, reached: cpu >= goal, note };
}

/** The same of a re-ranking. */
const pairRatio = ({ own, reference, ratio }: RerankReport) => ({
  cpu: own.pairs_per_cpu_second.best / reference.pairs_per_cpu_second.best,
  best: ratio.best,
});

/** The same of training. */
const stepRatio = ({ own, reference, ratio }: Pick<TrainReport, 'own' | 'reference' | 'ratio'>) => ({
  cpu: reference.cpu_seconds.min / own.cpu_seconds.min,
  best: ratio.best,
});

const milliseconds = (work: string, value: number, goal: number, note: string): Finding => ({
  work,
  here: `${short(value)} ms`,
  goal: `${goal} ms`,
  reached: value <= goal,
  note,
});

const noReference = ({ options }: RowContext) =>
  options.reference === undefined ? 'it needs --reference DIR and --python EXE' : undefined;
const noBf16 = ({ processor }: RowContext) =>
  processor.bf16 ? undefined : 'this processor has neither AVX-512 bf16 nor AMX';

const cpu = { device: 'cpu', precision: 'fp32' } as const;
const compared = ({ options }: RowContext): ComparisonOptions & AllOptions & ModelOptions => ({ ...options, ...cpu });
const againstFp32 = (context: RowContext) => ({ ...compared(context), against: 'fp32', precision: 'bf16' }) as const;

/** New processes of each kind that the row `start` has in a round: most take a fraction of a second. */
const STARTS = 5;

/** Captions of 13 words of one token each: with [CLS] and [SEP] a query has 15 tokens. */
export const QUERY = 'a young man sitting near the old wooden table with a white dog';

export const rows: Record<RowId, Row> = {
  rerank: {
    work: 're-ranking fp32, against salesforce/BLIP',
    lacks: noReference,
    measure: async (context) => {
      const report = await benchRerank(compared(context));
      const { own, reference, ratio, scores, recalls_equal } = report;
      const features = reference.feature_seconds.min / own.feature_seconds.min;
      const note = [
        `${short(own.pairs_per_second.best)} against ${short(reference.pairs_per_second.best)} pairs a second`,
        `${short(ratio.median)} times by the median; features ${short(features)} times`,
        `memory ${short(own.peak_bytes / reference.peak_bytes)}`,
        `scores within ${short(scores.maxDifference)}, recalls ${recalls_equal ? 'equal' : 'DIFFER'}`,
      ];
      return [times(rows.rerank.work, pairRatio(report), context.processor.fullWidth ? 20 : 13, note.join('; '))];
    },
  },
  'rerank-bf16': {
    work: 'whole evaluation, bf16 against own fp32',
    lacks: noBf16,
    measure: async (context) => {
      const { own, reference, scores } = await benchRerank(againstFp32(context));
      const ratio = (of: 'cpu_seconds' | 'feature_cpu_seconds' | 'rerank_cpu_seconds') =>
        reference[of].min / own[of].min;
      const note = `features ${short(ratio('feature_cpu_seconds'))}, re-ranking ${short(ratio('rerank_cpu_seconds'))}`;
      const best = reference.total_seconds.min / own.total_seconds.min;
      const both = { cpu: ratio('cpu_seconds'), best };
      return [times(rows['rerank-bf16'].work, both, 2.5, `${note}; scores within ${short(scores.maxDifference)}`)];
    },
  },
  'images-bf16': {
    work: 'features of images, bf16 against own fp32',
    lacks: noBf16,
    measure: async (context) => {
      const options = againstFp32(context);
      const { seconds } = options;
      const batch = Math.min(CPU_BATCH, options.batch); // as an evaluation takes them
      const { turns } = await alternate(context.folder, {
        ...options,
        load: await loadCommands(options, context.folder),
        command: () => ({ op: 'measure', what: 'images', captions: [QUERY], batch, seconds, least: 3 }),
        answer: Measured,
        told: ({ seconds }) => `${summary(seconds).min.toFixed(2)} s for ${counted(batch, 'image')}`,
      });
      const { own, reference } = both((name) => ({
        cpu: summary(turns[name].map(({ cpu, seconds }) => cpu / seconds.length / batch)).min,
        rate: batch / Math.min(...turns[name].flatMap(({ seconds }) => seconds)),
      }));
      const note = `${short(own.rate)} against ${short(reference.rate)} images a second`;
      return [
        times(rows['images-bf16'].work, { cpu: reference.cpu / own.cpu, best: own.rate / reference.rate }, 2.5, note),
      ];
    },
  },
  train: {
    work: 'training step fp32, against salesforce/BLIP',
    lacks: noReference,
    measure: async (context) => {
      const { own, reference, ratio } = await benchTrain({ ...compared(context), batch: context.options.train_batch });
      const note = [
        `${short(own.step_seconds.min)} against ${short(reference.step_seconds.min)} s a step`,
        `${short(ratio.median)} times by the median`,
        `memory ${short(own.peak_bytes / reference.peak_bytes)}`,
      ];
      return [
        times(
          rows.train.work,
          stepRatio({ own, reference, ratio }),
          context.processor.fullWidth ? 3.2 : 2.5,
          note.join('; '),
        ),
      ];
    },
  },
  'train-bf16': {
    work: 'training step, bf16 against own fp32',
    lacks: noBf16,
    measure: async (context) => {
      const { own, reference, ratio } = await benchTrain({
        ...againstFp32(context),
        batch: context.options.train_batch,
      });
      const last = ({ losses }: typeof own) => losses.loss_itm.map((itm, step) => itm + at(losses.loss_ita, step));
      const apart = Math.max(...last(own).map((loss, step) => Math.abs(loss - at(last(reference), step))));
      const note = `losses of the same steps within ${short(apart)}`;
      return [times(rows['train-bf16'].work, stepRatio({ own, reference, ratio }), 1.8, note)];
    },
  },
  'text-query': {
    work: 'text query of 15 tokens, half of them within',
    measure: async ({ options, folder }) => {
      const { threads, seconds, batch } = options;
      const { own } = await loadCommands({ ...options, ...cpu, against: 'fp32' }, folder);
      const worker = await startOwn(threads);
      try {
        await worker.ask(own, Timed);
        const query = { op: 'measure', what: 'text query', batch, seconds, least: 10 } as const;
        const measured = (await worker.ask({ ...query, captions: [QUERY] }, Measured)).seconds;
        const note = `95 % within ${short(1e3 * quantile(measured, 0.95))} ms`;
        return [milliseconds(rows['text-query'].work, 1e3 * quantile(measured, 0.5), 20, note)];
      } finally {
        await worker.close();
      }
    },
  },
  start: {
    work: 'start of a program',
    measure: async ({ options }) => {
      const { vit, image_size, queue_size, pretrained } = options;
      const rounds = STARTS * options.rounds;
      const weights = pretrained === undefined ? {} : { pretrained };
      const { starts, opened } = await benchStart({ vit, image_size, queue_size, rounds, ...weights });
      const goals: Record<string, number> = { '--version': 150, '--help': 150, 'first operator': 1200 };
      const found = starts.map(({ what, min, median, cpu }): Finding => {
        const note = `median ${short(1e3 * median)} ms; CPU ${short(1e3 * cpu)} ms`;
        const goal = goals[what];
        if (goal !== undefined) return milliseconds(`${what}, a new process`, 1e3 * min, goal, note);
        return { work: `${what}, a new process`, here: `${short(1e3 * min)} ms`, goal: '', reached: undefined, note };
      });
      const how = `median ${short(opened.median)} s; CPU ${short(opened.cpu)} s; a resume does it once`;
      const opening = `opening a checkpoint of ${bytes(opened.bytes)}, checksums compared`;
      return [...found, { work: opening, here: `${short(opened.min)} s`, goal: '', reached: undefined, note: how }];
    },
  },
  transformers: {
    work: "re-ranking fp32, against transformers' BlipForImageTextRetrieval",
    lacks: ({ options }) =>
      options.transformers_python === undefined ? 'it needs --transformers_python EXE' : undefined,
    measure: async (context) => {
      const python = context.options.transformers_python ?? '';
      const measured = async (against: 'transformers' | 'transformers-images', sizes: Partial<AllOptions>) => {
        const report = await benchRerank({ ...compared(context), ...sizes, python, against });
        const { own, reference, scores } = report;
        const how = against === 'transformers' ? 'given pairs' : 'given an image and its texts';
        const note = `${short(own.pairs_per_second.best)} against ${short(reference.pairs_per_second.best)} pairs a second`;
        const rest = `memory ${short(own.peak_bytes / reference.peak_bytes)}; scores within ${short(scores.maxDifference)}`;
        return times(`${rows.transformers.work}, ${how}`, pairRatio(report), undefined, `${note}; ${rest}`);
      };
      // Its forward encodes an image for every pair that it is given: a sixth of the pairs takes as long as all of the rest.
      const { images, texts, k } = context.options;
      const [fewer, fewerTexts] = [Math.max(1, Math.floor(images / 2)), Math.max(1, Math.floor(texts / 2))];
      const few = { images: fewer, texts: Math.max(fewer, fewerTexts), k: Math.max(1, Math.floor(k / 3)) };
      return [await measured('transformers', few), await measured('transformers-images', {})];
    },
  },
  coco: {
    work: "COCO's test split, foretold",
    measure: async ({ options, folder, processor }) => {
      const found: Finding[] = [];
      for (const precision of ['fp32', 'bf16'] as const) {
        if (precision === 'bf16' && !processor.bf16) continue;
        const { most, least, tokens } = await extrapolateCoco(
          { ...options, ...cpu },
          folder,
          precision,
          options.seconds,
        );
        const hours = (of: typeof most) => (of.features + of.rerank) / 3600;
        const rate = most.pairs / most.rerank;
        const note = `${short(rate)} pairs a second of ${tokens.toFixed(1)} tokens; features ${short(most.features / 3600)} h; ${(COCO_PAIRS / 1e6).toFixed(2)} million pairs if no two directions share one, at least ${(least.pairs / 1e6).toFixed(2)}`;
        const here = `${short(hours(least))} to ${short(hours(most))} h`;
        found.push({ work: `${rows.coco.work}, ${precision}`, here, goal: '', reached: undefined, note });
      }
      return found;
    },
  },
};
