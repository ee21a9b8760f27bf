// Weights of a model from a checkpoint file, matched by name and shape as the reference's load_checkpoint does.
import { UserError } from '../errors.js';
import type { TensorRef } from '../torch/checkpoint/index.js';
import { byteOffset, openCheckpoint, stateDictOf, verifyStorages } from '../torch/checkpoint/index.js';
import { manualSeed } from '../torch/generator.js';
import { type MappedFile, mapFile } from '../torch/mapped-file.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { Architecture } from './architecture.js';
import { initialValue, inputsOf } from './initialize.js';
import { type Entry, isEvaluated, modelEntries, patchesOf } from './state-dict.js';

/** How a checkpoint's names and shapes compare with the model's. */
export interface LoadReport {
  path: string;
  /** Entries of the model that the checkpoint gives. */
  loaded: string[];
  /** Entries of the model that it does not give, or gives in another shape. */
  missing: string[];
  /** Entries of the checkpoint that the model has no place for. */
  unexpected: string[];
  /** Of the missing: those there in another shape. */
  mismatched: { name: string; found: readonly number[]; expected: readonly number[] }[];
  /** Position embeddings of another image size: patches there and here. */
  interpolated: { name: string; from: number; to: number }[];
}

const POSITIONS = ['visual_encoder.pos_embed', 'visual_encoder_m.pos_embed'];

const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((n, i) => n === b[i]);

/** Patches a side when `shape` is (1, side² + 1, width) of the model's width, else undefined. */
function gridOf(shape: readonly number[], width: number): number | undefined {
  const side = Math.sqrt((shape[1] ?? 0) - 1);
  return shape.length === 3 && shape[0] === 1 && shape[2] === width && Number.isInteger(side) && side > 0
    ? side
    : undefined;
}

/** Compares a checkpoint's entries with the model's. Position embeddings of another grid count as loaded. */
export function compareEntries(
  path: string,
  found: ReadonlyMap<string, Pick<TensorRef, 'shape'>>,
  architecture: Architecture,
): LoadReport {
  const entries = modelEntries(architecture);
  const report: LoadReport = { path, loaded: [], missing: [], unexpected: [], mismatched: [], interpolated: [] };
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

/** A tensor of the file, as float32 or int64 as the model wants it: over the mapping where type and alignment allow. */
function tensorOf(file: MappedFile, ref: TensorRef, [, , dtype]: Entry): Tensor {
  const tensor = file.tensor(byteOffset(ref), ref.dtype, ref.shape, ref.stride);
  return ref.dtype === dtype ? tensor : ops.to(tensor, { dtype });
}

/** "a, b, c and 4 more" */
function some(names: readonly string[], most = 6): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

function refuseRandom(report: LoadReport, random: readonly string[]): void {
  if (random.length === 0) return;
  const mismatched = report.mismatched.filter(({ name }) => random.includes(name));
  const shapes = mismatched.map(({ name, found, expected }) => `${name} [${found}] instead of [${expected}]`);
  const wrong = shapes.length > 0 ? `; of another shape: ${some(shapes, 3)}` : '';
  const vision = random.some((name) => name.startsWith('visual_encoder.'));
  throw new UserError(
    `${report.path}: ${random.length} of the weights that evaluation uses are not in it as this config's model has them: ` +
      `${some(random)}${wrong}; they would stay random${vision ? ', the vision encoder among them' : ''}: ` +
      'check vit and med_config, or pass --allow_partial to go on all the same',
  );
}

export interface LoadOptions {
  /** Missing weights stay at their random initial values instead of being an error. */
  allowPartial?: boolean;
  /** Of the random initial values. */
  seed?: number;
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
async function load(
  path: string,
  architecture: Architecture,
  wanted: (name: string) => boolean,
  options: LoadOptions,
): Promise<Loaded> {
  const checkpoint = openCheckpoint(path);
  const refs = stateDictOf(checkpoint);
  const report = compareEntries(path, refs, architecture);
  const loaded = new Set(report.loaded);
  const entries = modelEntries(architecture).filter(([name]) => wanted(name));
  const random = entries.map(([name]) => name).filter((name) => isEvaluated(name) && !loaded.has(name));
  if (!options.allowPartial) refuseRandom(report, random);
  await verifyStorages(checkpoint);

  const file = mapFile(path);
  manualSeed(options.seed ?? 42);
  const inputs = inputsOf(entries);
  const { initializerRange } = architecture.text;
  const state = new Map<string, Tensor>();
  for (const entry of entries) {
    const [name, shape] = entry;
    const ref = loaded.has(name) ? refs.get(name) : undefined;
    const value = scope(() => {
      if (ref === undefined)
        return state.get(name.replace('_m.', '.')) ?? initialValue(entry, inputs(name), initializerRange);
      const tensor = tensorOf(file, ref, entry);
      return same(ref.shape, shape) ? tensor : interpolatePositions(tensor, Math.sqrt(patchesOf(architecture.vision)));
    });
    state.set(name, value);
  }
  file.close();
  return { state, report };
}

/**
 * The weights that evaluation uses; momentum copies and queues are compared, and listed in the report, but not loaded.
 * Throws a UserError for a file that is damaged or of another model.
 */
export function loadPretrained(path: string, architecture: Architecture, options: LoadOptions = {}): Promise<Loaded> {
  return load(path, architecture, isEvaluated, options);
}

/** Every entry of the model, for training: queues and momentum copies too. Throws as loadPretrained. */
export function loadTrainingState(
  path: string,
  architecture: Architecture,
  options: LoadOptions = {},
): Promise<Loaded> {
  return load(path, architecture, () => true, options);
}

/** The lines that say how loading went, the reference's own among them. */
export function describeLoad(report: LoadReport): string[] {
  const seen = new Set<string>();
  const lines = report.interpolated
    .map(({ from, to }) => `reshape position embedding from ${from} to ${to}`)
    .filter((line) => !seen.has(line) && seen.add(line));
  const training = report.missing.filter((name) => !isEvaluated(name)).length;
  const counts = [
    `${report.loaded.length} loaded`,
    `${report.missing.length} missing${training === report.missing.length && training > 0 ? " (training's own)" : ''}`,
    `${report.unexpected.length} unexpected`,
    `${report.mismatched.length} of another shape`,
  ];
  lines.push(`load checkpoint from ${report.path}: ${counts.join(', ')}`);
  const evaluated = report.missing.filter(isEvaluated);
  if (evaluated.length > 0) lines.push(`missing, left random: ${some(evaluated)}`);
  if (report.unexpected.length > 0) lines.push(`unexpected, not used: ${some(report.unexpected)}`);
  if (report.mismatched.length > 0)
    lines.push(
      `of another shape, not used: ${some(report.mismatched.map(({ name, found, expected }) => `${name} [${found}] instead of [${expected}]`))}`,
    );
  return lines;
}
