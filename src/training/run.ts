// One run of the main command: what evaluation and training share, and hand on as it is.
import type { RetrievalConfig } from '../config/load.js';
import type { RetrievalSplit } from '../data/annotations.js';
import type { Tokenizer } from '../data/tokenizer.js';
import type { Ranks } from '../distributed/ranks.js';
import type { SplitReport } from '../evaluation/report.js';
import type { MetricLoggerOptions } from '../logging/metric-logger.js';
import type { Architecture } from '../model/architecture.js';
import type { Precision } from '../torch/precision.js';
import type { Device } from '../torch/tensor.js';

export const SPLITS = ['val', 'test'] as const;
export type SplitName = (typeof SPLITS)[number];

/** What one evaluation found. */
export type RetrievalResult = Record<SplitName, SplitReport>;

/** What a run is asked to do, beside its config. */
export interface RunOptions {
  outputDir: string;
  /** Evaluate only; else fine-tune, with an evaluation after every epoch. */
  evaluate: boolean;
  seed: number;
  precision: Precision;
  /** Write scores_{val,test}.safetensors after an evaluation. */
  saveScores: boolean;
  /** Images that cannot be read count as grey instead of ending the run. */
  skipBadImages: boolean;
  /** Weights that the checkpoint lacks stay random instead of being an error. */
  allowPartial: boolean;
  training: TrainingOptions;
}

/** What only training is asked. */
export interface TrainingOptions {
  /** Start from a checkpoint of a run; 'latest' is checkpoint_last.pth of the output folder. */
  resume: string | undefined;
  /** Steps between two saves of checkpoint_last.pth; it is saved at every epoch's end anyway. */
  saveEvery: number | undefined;
  /** Stop after this many steps, counted from the run's first epoch. */
  maxSteps: number | undefined;
  /** Batches whose gradients are added up for one update of the weights. */
  accumulate: number;
  /** Steps between two printed lines, and two lines of metrics.jsonl. */
  logEvery: number;
}

export interface Run {
  options: RunOptions;
  config: RetrievalConfig;
  architecture: Architecture;
  device: Device;
  splits: Record<SplitName, RetrievalSplit>;
  tokenizer: Tokenizer;
  ranks: Ranks;
  logger: MetricLoggerOptions;
  /** Takes one line for the user; silent on all ranks but 0. */
  print(line: string): void;
}

/** Rank 0 writes the files. */
export const isMain = ({ ranks }: Pick<Run, 'ranks'>): boolean => ranks.rank === 0;
