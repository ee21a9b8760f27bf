// The state dict of the model in a checkpoint, wherever training scripts put it.
import { printable, UserError } from '../../../errors.js';
import { counted } from '../../../logging/text.js';
import { scalarText } from '../read/globals.js';
import { quote } from '../read/zip.js';
import { type Checkpoint, isRef, isTensorRef, type PickleScalar, type PickleValue, type TensorRef } from '../types.js';

/** A model's weights as a checkpoint holds them. */
export interface Weights {
  /** By name, in order. */
  tensors: Map<string, TensorRef>;
  /** Entries among them that are no tensors: name, and what is there (`a number`). */
  others: Map<string, string>;
  /** The keys that lead to them from the file's root; none where that is the state dict. */
  keys: readonly string[];
}

/** The reference saves its model under the first; the others are what DeepSpeed, Lightning and many scripts use. */
const KEYS = ['model', 'state_dict', 'model_state_dict', 'model_state', 'module', 'net', 'network', 'weights'];

/** Dicts of tensors that are not a model. */
const NO_MODEL = new Set([
  'optimizer',
  'optimizer_state_dict',
  'optim',
  'scaler',
  'scheduler',
  'lr_scheduler',
  'resume',
  'rng',
]);

type Dict = ReadonlyMap<PickleScalar, PickleValue>;

/**
 * The model's tensors by name: the mapping under `model` or another usual key, or the file's root where that is itself a
 * state dict. Throws a UserError that says what was found instead.
 */
export function stateDictOf(checkpoint: Checkpoint): Map<string, TensorRef> {
  return weightsOf(checkpoint).tensors;
}

/** As stateDictOf, with where they were found and what else lies among them. */
export function weightsOf({ path, root }: Checkpoint): Weights {
  if (isRef(root, 'opaque')) throw notMade(path, 'it', root);
  if (!(root instanceof Map)) {
    throw new UserError(
      `${path}: it holds ${describe(root)} instead of a dict of tensors. Name a checkpoint with a state dict.`,
    );
  }
  const keys = keysToWeights(root) ?? (holdsTensors(root) ? [] : undefined);
  if (keys === undefined) throw nothingFound(path, root);
  const tensors = new Map<string, TensorRef>();
  const others = new Map<string, string>();
  for (const [key, value] of followed(root, keys) ?? []) {
    if (typeof key === 'string' && isTensorRef(value)) tensors.set(key, value);
    else others.set(printable(scalarText(key)), describe(value));
  }
  return { tensors, others, keys };
}

/** The usual keys that lead to a dict of tensors, through dicts that hold no tensor themselves. */
function keysToWeights(dict: Dict, depth = 0): string[] | undefined {
  for (const key of KEYS) {
    const value = dict.get(key);
    if (!(value instanceof Map)) continue;
    if (holdsTensors(value)) return [key];
    const below = depth < 3 ? keysToWeights(value, depth + 1) : undefined;
    if (below !== undefined) return [key, ...below];
  }
  return undefined;
}

function followed(root: Dict, keys: readonly string[]): Dict | undefined {
  let here: PickleValue | undefined = new Map(root);
  for (const key of keys) here = here instanceof Map ? here.get(key) : undefined;
  return here instanceof Map ? here : undefined;
}

function holdsTensors(dict: Dict): boolean {
  for (const [key, value] of dict) if (typeof key === 'string' && isTensorRef(value)) return true;
  return false;
}

function nothingFound(path: string, root: Dict): UserError {
  for (const [key, value] of root) {
    if (isRef(value, 'opaque') && (value.isModule === true || KEYS.includes(scalarText(key))))
      return notMade(path, `its ${quote(scalarText(key))}`, value);
  }
  const model = root.get('model');
  if (model !== undefined) {
    if (!(model instanceof Map))
      return new UserError(
        `${path}: its "model" is ${describe(model)}, not a state dict. Save model.state_dict() there.`,
      );
    const [first] = model;
    if (first === undefined) return new UserError(`${path}: its state dict is empty. Name another checkpoint.`);
    const [name, value] = first;
    return new UserError(
      `${path}: in its "model" ${quote(scalarText(name))} is ${describe(value)}, not a tensor. Save model.state_dict() there.`,
    );
  }
  if (root.size === 0) return new UserError(`${path}: its state dict is empty. Name another checkpoint.`);
  const keys = printable([...root.keys()].slice(0, 8).map(scalarText).join(', ').slice(0, 200));
  const dicts = [...root].flatMap(([key, value]) =>
    typeof key === 'string' && !NO_MODEL.has(key) && value instanceof Map && holdsTensors(value) ? [quote(key)] : [],
  );
  const found = dicts.length === 0 ? '' : ` There are tensors in ${dicts.slice(0, 4).join(', ')}.`;
  return new UserError(
    `${path}: it has no state dict under "model" or another usual key (its keys are ${keys}).${found} ` +
      'Save the weights under "model".',
  );
}

/** Of an object in the place of the weights, which is known by its name only. */
function notMade(path: string, where: string, { name, isModule }: { name: string; isModule?: boolean }): UserError {
  const what =
    isModule === true ? `a whole module (${printable(name)}), not its weights` : `an object (${printable(name)})`;
  return new UserError(
    `${path}: ${where} ${where === 'it' ? 'holds' : 'is'} ${what}, and no object is made here. ${wayOut(isModule)}`,
  );
}

/** What to do about a checkpoint that holds a module instead of its weights. */
export function wayOut(isModule: boolean | undefined): string {
  const dict = isModule === true ? 'model.state_dict()' : 'its state_dict(), or a dict of its tensors,';
  return isModule === true
    ? `In the Python program that made it, load it and save ${dict}: torch.save({'model': ${dict}}, 'weights.pth').`
    : `In the Python program that made it, save ${dict} under "model".`;
}

function describe(value: PickleValue | undefined): string {
  if (value === undefined || value === null) return 'nothing (None)';
  if (value instanceof Map) return `a dict of ${counted(value.size, 'entry')}`;
  if (Array.isArray(value)) return `a list of ${counted(value.length, 'entry')}`;
  if (value instanceof Uint8Array) return 'bytes';
  if (typeof value === 'object') return value.kind === 'opaque' ? `a ${printable(value.name)}` : `a ${value.kind}`;
  return typeof value === 'string' ? 'text' : `a ${typeof value}`;
}
