// One run of the main command: what evaluation and training share, and hand on as it is.
import type { RetrievalConfig } from '../config/load.js';
import type { RetrievalSplit } from '../data/annotations.js';
import type { Tokenizer } from '../data/tokenizer.js';
import type { Ranks } from '../distributed/ranks.js';
import type { PretrainedFile } from '../download/pretrained-file.js';
import type { SplitReport } from '../evaluation/report.js';
import type { MetricLoggerOptions } from '../logging/metric-logger.js';
import type { EventLog } from '../logging/tensorboard.js';
import type { Voice } from '../logging/terminal.js';
import type { Architecture } from '../model/architecture.js';
import type { Device } from '../torch/tensor.js';
import type { RunOptions } from './options.js';

export const SPLITS = ['val', 'test'] as const;
export type SplitName = (typeof SPLITS)[number];

/** What one evaluation found. */
export type RetrievalResult = Record<SplitName, SplitReport>;

export interface Run {
  options: RunOptions;
  config: RetrievalConfig;
  architecture: Architecture;
  /** The checkpoint that the config names, where its shapes had to tell the sizes; else it is fetched when it is needed. */
  pretrained: PretrainedFile | undefined;
  device: Device;
  splits: Record<SplitName, RetrievalSplit>;
  tokenizer: Tokenizer;
  ranks: Ranks;
  logger: MetricLoggerOptions;
  /** TensorBoard's file, where one is asked for, of rank 0. */
  events?: EventLog | undefined;
  /** What the user sees and hears; silent on all ranks but 0. */
  voice: Voice;
  /** Takes one line for the user; silent on all ranks but 0. */
  print(line: string): void;
}

/** Rank 0 writes the files. */
export const isMain = ({ ranks }: Pick<Run, 'ranks'>): boolean => ranks.rank === 0;
