// Weights of a model from a checkpoint file, matched by name and shape as the reference's load_checkpoint does.
import { UserError } from '../errors.js';
import {
  type Checkpoint,
  openTensorFile,
  type Sharers,
  type TensorFile,
  type TensorRef,
} from '../torch/checkpoint/index.js';
import { manualSeed } from '../torch/generator.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { Architecture } from './architecture.js';
import { entriesOf, gridOf } from './checkpoint-entries.js';
import { otherTask } from './foreign-names.js';
import { INITIAL_TEMPERATURE, initialValue, inputsOf } from './initialize.js';
import { isEvaluated, momentumTwin, patchesOf, type StateDictEntry, stateDictEntries } from './state-dict.js';

/** How a checkpoint's names and shapes compare with the model's. */
export interface LoadReport {
  path: string;
  /** Entries of the model that the checkpoint gives. */
  loaded: string[];
  /** Entries of the model that it does not give, or gives in another shape. */
  missing: string[];
  /** Entries of the checkpoint that the model does not have. */
  unexpected: string[];
  /** Of the missing: those that the checkpoint has in another shape. */
  mismatched: { name: string; found: readonly number[]; expected: readonly number[] }[];
  /** Position embeddings of another image size: patches in the checkpoint and in the model. */
  interpolated: { name: string; from: number; to: number }[];
  /** How the file's form differs from the reference's, a line each: prefixes taken off, another place of the weights. */
  notes: string[];
}

const POSITIONS = ['visual_encoder.pos_embed', 'visual_encoder_m.pos_embed'];

const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((n, i) => n === b[i]);

/** Compares a checkpoint's entries with the model's. Position embeddings of another grid count as loaded. */
export function compareEntries(
  path: string,
  found: ReadonlyMap<string, Pick<TensorRef, 'shape'>>,
  architecture: Architecture,
): LoadReport {
  const entries = stateDictEntries(architecture);
  const report: LoadReport = {
    path,
    loaded: [],
    missing: [],
    unexpected: [],
    mismatched: [],
    interpolated: [],
    notes: [],
  };
  const known = new Set<string>();
  for (const [name, expected] of entries) {
    known.add(name);
    const shape = found.get(name)?.shape;
    const grid = shape && POSITIONS.includes(name) ? gridOf(shape, architecture.vision.width) : undefined;
    if (shape === undefined) report.missing.push(name);
    else if (same(shape, expected)) report.loaded.push(name);
    else if (grid !== undefined) {
      report.loaded.push(name);
      report.interpolated.push({ name, from: grid ** 2, to: patchesOf(architecture.vision) });
    } else {
      report.missing.push(name);
      report.mismatched.push({ name, found: shape, expected });
    }
  }
  report.unexpected = [...found.keys()].filter((name) => !known.has(name));
  return report;
}

/** The checkpoint's weights under the reference's names, and how they compare with the model's. */
export function compareCheckpoint(
  checkpoint: Checkpoint,
  architecture: Architecture,
): { refs: Map<string, TensorRef>; report: LoadReport } {
  const { refs, others, notes } = entriesOf(checkpoint);
  const report = compareEntries(checkpoint.path, refs, architecture);
  report.unexpected.push(...[...others].map(([name, what]) => `${name} (${what})`));
  report.notes.push(...notes);
  return { refs, report };
}

/**
 * Position embeddings of another image size: the class token's stays, the grid's are resized by bicubic interpolation.
 * (1, from² + 1, D) → (1, to² + 1, D); `to` is the number of patches a side. As the reference's interpolate_pos_embed.
 */
export function interpolatePositions(embedding: Tensor, to: number): Tensor {
  return scope(() => {
    const [tokens, width] = [embedding.size(1), embedding.size(2)];
    const from = Math.sqrt(tokens - 1);
    const grid = ops.permute(ops.reshape(ops.slice(embedding, 1, 1, tokens), [1, from, from, width]), [0, 3, 1, 2]);
    const resized = ops.reshape(ops.permute(ops.upsampleBicubic(grid, to, to), [0, 2, 3, 1]), [1, to * to, width]);
    return ops.cat([ops.slice(embedding, 1, 0, 1), resized], 1);
  });
}

/** "a, b, c and 4 more" */
function some(names: readonly string[], most = 6): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

const shapesOf = ({ mismatched }: LoadReport) =>
  mismatched.map(({ name, found, expected }) => `${name} [${found}] instead of [${expected}]`);

/** @throws UserError, ending in `remedy`, where the file lacks weights that evaluation uses, or has them in another shape */
export function demandEvaluated(report: LoadReport, remedy: string): void {
  const random = report.missing.filter(isEvaluated);
  if (random.length === 0) return;
  refuseOtherTask(report, random);
  const shapes = shapesAmong(report, random);
  throw new UserError(
    `${report.path} is no whole model of retrieval: ${countOf(random)} missing or of another shape (${some(random, 3)}).${shapes} ${remedy}`,
  );
}

/** "1 weight is", "4 weights are" */
const countOf = (names: readonly string[]) => (names.length === 1 ? '1 weight is' : `${names.length} weights are`);

/** A sentence on those of `names` that have another shape, after a space; empty where none has. */
function shapesAmong(report: LoadReport, names: readonly string[]): string {
  const mismatched = report.mismatched.filter(({ name }) => names.includes(name));
  return mismatched.length > 0 ? ` Of another shape: ${some(shapesOf({ ...report, mismatched }), 3)}.` : '';
}

function refuseRandom(report: LoadReport, random: readonly string[]): void {
  if (random.length === 0) return;
  refuseOtherTask(report, random);
  const shapes = shapesAmong(report, random);
  const vision = random.some((name) => name.startsWith('visual_encoder.')) ? ', the vision encoder among them' : '';
  throw new UserError(
    `${report.path} does not fit the config: ${countOf(random)} missing or of another shape (${some(random, 3)}) and ` +
      `would stay random${vision}.${shapes} Check vit and med_config, or set \`allowPartial\`.`,
  );
}

function refuseOtherTask(report: LoadReport, random: readonly string[]): void {
  const other = otherTask(report.unexpected);
  if (other === undefined) return;
  throw new UserError(
    `${report.path} is ${other}: ${random.length} of the weights of retrieval are not in it (${some(random, 3)}). ` +
      'Take a checkpoint of retrieval, such as hf:Salesforce/blip-itm-base-coco.',
  );
}

export interface LoadOptions {
  /** Missing weights stay at their random initial values instead of being an error. */
  allowPartial?: boolean;
  /** Of the random initial values. */
  seed?: number;
  /** Ranks that load the same file now: they share the comparison of its checksums. */
  sharers?: Sharers;
}

export interface Loaded {
  state: Map<string, Tensor>;
  report: LoadReport;
}

/**
 * The entries that `wanted` chooses, on the CPU, from a checkpoint (`{model: state dict, …}` or a bare state dict). They
 * lie over the mapped file: nothing is copied until it is used, and the file must not be truncated meanwhile. What the
 * file does not give has its initial value, drawn from `seed`; a momentum copy that it does not give equals its online twin.
 */
function stateFrom(
  file: TensorFile,
  architecture: Architecture,
  wanted: (name: string) => boolean,
  options: LoadOptions,
): Loaded {
  const { refs, report } = compareCheckpoint(file.checkpoint, architecture);
  const loaded = new Set(report.loaded);
  const entries = stateDictEntries(architecture).filter(([name]) => wanted(name));
  const random = entries.map(([name]) => name).filter((name) => isEvaluated(name) && !loaded.has(name));
  if (!options.allowPartial) refuseRandom(report, random);

  const state = initialised(entries, architecture, options, ([name, shape, dtype]) => {
    const ref = loaded.has(name) ? refs.get(name) : undefined;
    if (ref === undefined) return undefined;
    const stored = file.tensor(ref);
    const tensor = ref.dtype === dtype ? stored : ops.to(stored, { dtype });
    return same(ref.shape, shape) ? tensor : interpolatePositions(tensor, Math.sqrt(patchesOf(architecture.vision)));
  });
  return { state, report };
}

/** Each entry as `given` has it, else its initial value, drawn from the seed; a momentum copy equals its online twin. */
function initialised(
  entries: readonly StateDictEntry[],
  architecture: Architecture,
  options: LoadOptions,
  given: (entry: StateDictEntry) => Tensor | undefined,
): Map<string, Tensor> {
  manualSeed(options.seed ?? 42);
  const inputs = inputsOf(entries);
  const { initializerRange } = architecture.text;
  const state = new Map<string, Tensor>();
  for (const entry of entries) {
    const [name] = entry;
    const value = scope(
      () => given(entry) ?? state.get(momentumTwin(name) ?? '') ?? initialValue(entry, inputs(name), initializerRange),
    );
    state.set(name, value);
  }
  return state;
}

/** Random weights for evaluation, distributed as the reference's are before it loads a checkpoint. */
export function randomState(architecture: Architecture, options: LoadOptions = {}): Map<string, Tensor> {
  const entries = stateDictEntries(architecture).filter(([name]) => isEvaluated(name));
  return initialised(entries, architecture, options, () => undefined);
}

/** As randomState, with queues and momentum copies: what training starts from without a checkpoint. */
export function randomTrainingState(architecture: Architecture, options: LoadOptions = {}): Map<string, Tensor> {
  return initialised(stateDictEntries(architecture), architecture, options, () => undefined);
}

/**
 * The weights that evaluation uses; momentum copies and queues are compared, and listed in the report, but not loaded.
 * @throws UserError for a file that is damaged or of another model
 */
export async function loadPretrained(
  path: string,
  architecture: Architecture,
  options: LoadOptions = {},
): Promise<Loaded> {
  using file = await openTensorFile(path, options.sharers);
  return stateFrom(file, architecture, isEvaluated, options);
}

/** Every entry of the model, for training: queues and momentum copies too. @throws UserError as loadPretrained */
export function loadTrainingState(file: TensorFile, architecture: Architecture, options: LoadOptions = {}): Loaded {
  return stateFrom(file, architecture, () => true, options);
}

/** The lines that say how loading went, the reference's own among them. */
export function describeLoad(report: LoadReport): string[] {
  const { path, loaded, missing, unexpected, mismatched, interpolated, notes } = report;
  const resized = interpolated.map(({ from, to }) => `reshape position embedding from ${from} to ${to}`);
  const evaluated = missing.filter(isEvaluated);
  const onlyTraining = missing.length > 0 && evaluated.length === 0 ? ' (used in training only)' : '';
  const counts = [
    `${loaded.length} loaded`,
    `${missing.length} missing${onlyTraining}`,
    `${unexpected.length} unexpected`,
    `${mismatched.length} of another shape`,
  ];
  const lines = [...notes, ...new Set(resized), `load checkpoint from ${path}: ${counts.join(', ')}`];
  if (evaluated.length > 0) lines.push(`missing, left random: ${some(evaluated)}`);
  if (unexpected.length > 0) lines.push(`unexpected, not used: ${some(unexpected)}`);
  if (mismatched.length > 0) lines.push(`of another shape, not used: ${some(shapesOf(report))}`);
  return lines;
}

/** A line on what training needs and the checkpoint lacks, and how it begins then; none where it has everything. */
export function describeMade({ missing }: LoadReport): string[] {
  const made = [
    ...(missing.includes('temp') ? [`temp ${INITIAL_TEMPERATURE}`] : []),
    ...(missing.some((name) => name.endsWith('_queue')) ? ['queues drawn at random'] : []),
    ...(missing.some((name) => momentumTwin(name) !== undefined)
      ? ['momentum copies equal to the online weights']
      : []),
  ];
  return made.length === 0 ? [] : [`made for training: ${made.join(', ')}`];
}
