// What a checkpoint is, in at most twelve lines: its kind, its model, its parameters, bytes by part, position and config.
import { formatBytes } from '../disk/space.js';
import { UserError } from '../errors.js';
import { counted, nounOf } from '../logging/text.js';
import { sizesOf } from '../model/checkpoint-entries.js';
import { isTrained } from '../model/state-dict.js';
import type { Checkpoint, FlatCheckpoint, PickleScalar } from '../torch/checkpoint/index.js';
import { DTYPES, numelOf } from '../torch/dtype.js';

/** Parts of a file by the names of their tensors, the first that fits. */
const PARTS: readonly (readonly [name: string, names: RegExp])[] = [
  ['optimizer', /^optimizer\//],
  ['momentum copies', /(?:^|\/)(?:visual_encoder|text_encoder|vision_proj|text_proj)_m\./],
  ['queues', /(?:^|\/)\w+_queue$/],
  ['vision encoder', /(?:^|[/.])(?:visual_encoder|vision_model)\./],
  ['text encoder', /(?:^|[/.])text_(?:encoder|model)\./],
  ['heads', /(?:^|[/.])(?:itm_head|(?:vision|text)_proj)\.|(?:^|\/)temp$/],
  ['other', /./],
];

function bytesByPart({ tensors }: FlatCheckpoint): string {
  const bytes = new Map<string, number>();
  for (const [path, { shape, dtype }] of tensors) {
    const part = PARTS.find(([, names]) => names.test(path))?.[0] ?? 'other';
    bytes.set(part, (bytes.get(part) ?? 0) + numelOf(shape) * DTYPES[dtype].bytes);
  }
  return [...bytes]
    .sort(([, a], [, b]) => b - a)
    .map(([part, size]) => `${part} ${formatBytes(size)}`)
    .join(', ');
}

/** ViT and image size, where the weights are of this model. */
function modelOf(checkpoint: Checkpoint): string | undefined {
  try {
    const { vit, imageSize, queueSize } = sizesOf(checkpoint);
    return `BLIP retrieval, vit ${vit}, images of ${imageSize} pixels${queueSize === undefined ? '' : `, queue of ${queueSize}`}`;
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

/** Values below `prefix` that are no lists and no mappings, as `key value`. */
function valuesBelow(values: ReadonlyMap<string, PickleScalar>, prefix: string): [key: string, value: PickleScalar][] {
  return [...values]
    .filter(([path]) => path.startsWith(prefix) && !path.slice(prefix.length).includes('/'))
    .map(([path, value]) => [path.slice(prefix.length), value]);
}

/** Titles and texts. `shown` makes a value of the file fit for a terminal, `name` a name. */
export function summary(
  checkpoint: Checkpoint,
  flat: FlatCheckpoint,
  shown: (value: PickleScalar) => string,
  name: (key: string) => string,
): [title: string, text: string][] {
  const { tensors, values, opaque } = flat;
  const model = modelOf(checkpoint);
  const trains = [...tensors.keys()].some((path) => path.startsWith('optimizer/'));
  const kind =
    model === undefined
      ? 'tensors of another program'
      : `${model}; ${trains ? 'training can go on from it' : 'weights alone'}`;
  const all = [...tensors].map(([path, { shape }]) => ({ path, elements: numelOf(shape) }));
  const sum = (of: readonly { elements: number }[]) => of.reduce((total, { elements }) => total + elements, 0);
  const own = all.filter(({ path }) => path.startsWith('model/'));
  const weights = own.length > 0 ? own : all;
  const trained = weights.filter(({ path }) => isTrained(path.replace(/^model\//, '')));
  const count = (elements: number) => elements.toLocaleString('en-US');
  const parameters = model === undefined ? '' : `${count(sum(trained))} trained, `;
  const types = [...new Set([...tensors.values()].map(({ dtype }) => dtype))].join(', ');
  const lines: [string, string][] = [
    ['What', kind],
    ['Tensors', `${counted(tensors.size, 'tensor')} of ${types || 'no type'}, ${counted(values.size, 'value')}`],
    ['Parameters', `${parameters}${count(sum(all))} ${nounOf(sum(all), 'element')} in all`],
    ['Bytes', bytesByPart(flat)],
  ];
  const position = ['epoch', 'step', 'best', 'best_epoch'].flatMap((key) => {
    const found = [...values].find(
      ([path]) => path === key || (path.endsWith(`/${key}`) && !path.startsWith('config/')),
    );
    return found === undefined ? [] : [`${key} ${shown(found[1])}`];
  });
  if (position.length > 0) lines.push(['Position', position.join(', ')]);
  const lr = [...values].find(([path]) => /^optimizer\/param_groups\/0\/lr$/.test(path));
  if (lr !== undefined) lines.push(['lr', shown(lr[1])]);
  const config = valuesBelow(values, 'config/');
  if (config.length > 0)
    lines.push(['Config', config.map(([key, value]) => `${name(key)} ${shown(value)}`).join(', ')]);
  const metadata = valuesBelow(values, '__metadata__/');
  if (metadata.length > 0)
    lines.push(['Metadata', metadata.map(([key, value]) => `${name(key)} ${shown(value)}`).join(', ')]);
  if (opaque.size > 0) lines.push(['Opaque', `${counted(opaque.size, 'object')} of classes that were not made`]);
  return lines;
}
