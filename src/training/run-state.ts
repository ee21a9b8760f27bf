// The state of a training run: all that an exact resume needs beside weights, optimizer and random states.
import type { RetrievalMetrics } from '../evaluation/recall.js';

/** Sum and number of the values of one meter. */
export interface MeterState {
  total: number;
  count: number;
}

/** Meters of the current epoch, in the order in which log.txt has them. */
export const METERS = ['lr', 'loss_itm', 'loss_ita'] as const;
export type MeterName = (typeof METERS)[number];
export type MeterStates = Record<MeterName, MeterState>;

/** Changed in place as the run advances. */
export interface RunState {
  /** From 0. */
  epoch: number;
  /** Steps of the epoch that are done; all of them when only its evaluation is left. */
  step: number;
  meters: MeterStates;
  /** Best r_mean on val so far, 0 at first; its epoch, and the test metrics of that epoch. */
  best: number;
  bestEpoch: number;
  bestTest: RetrievalMetrics | undefined;
}

/** What must be unchanged for a resume to be exact. */
export interface RunIdentity {
  worldSize: number;
  /** Rows of a step on each rank. */
  batchSize: number;
  /** Rows of the training file. */
  rows: number;
  seed: number;
}

export function emptyMeters(): MeterStates {
  return { lr: { total: 0, count: 0 }, loss_itm: { total: 0, count: 0 }, loss_ita: { total: 0, count: 0 } };
}

/** The state before the first step. */
export function initialState(): RunState {
  return { epoch: 0, step: 0, meters: emptyMeters(), best: 0, bestEpoch: 0, bestTest: undefined };
}
