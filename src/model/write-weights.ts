// Weights of a checkpoint under the reference's names or Hugging Face's, whatever names they have there: tensor by tensor,
// so that one is in memory at a time.
import { type TensorFile, type TensorRef, type WritableTensor, writeCheckpoint } from '../torch/checkpoint/index.js';
import type { DType } from '../torch/dtype.js';
import * as ops from '../torch/ops.js';
import { type SafeTensor, writeSafetensors } from '../torch/safetensors.js';
import { scope } from '../torch/tensor.js';
import type { Architecture } from './architecture.js';
import { huggingFaceName } from './foreign-names.js';
import { isEvaluated, stateDictEntries } from './state-dict.js';

/** A retrieval model's weights as its file has them. */
export interface StoredWeights {
  file: TensorFile;
  /** By the reference's name: CheckpointEntries.refs. */
  refs: ReadonlyMap<string, TensorRef>;
  architecture: Architecture;
}

interface Options {
  /** Floating-point numbers in float16. */
  half: boolean;
}

/**
 * Writes `{model: state dict}` to `path`, in the reference's order: all that the file has, queues too.
 * @returns the number of tensors
 */
export async function writeReferenceWeights(weights: StoredWeights, path: string, { half }: Options): Promise<number> {
  const tensors = new Map<string, WritableTensor>();
  for (const [name] of stateDictEntries(weights.architecture)) {
    const ref = weights.refs.get(name);
    if (ref === undefined) continue;
    const dtype = writtenType(ref, half);
    tensors.set(name, { dtype, shape: ref.shape, data: () => bytesOf(weights.file, ref, dtype) });
  }
  await writeCheckpoint(path, { model: tensors });
  return tensors.size;
}

/** Writes what transformers' BlipForImageTextRetrieval has to the safetensors file `path`. @returns its tensors' types, by name */
export async function writeHuggingFaceWeights(
  { file, refs }: StoredWeights,
  path: string,
  { half }: Options,
): Promise<Map<string, DType>> {
  const tensors = new Map<string, SafeTensor>();
  for (const [name, ref] of refs) {
    const theirs = isEvaluated(name) ? huggingFaceName(name) : undefined;
    if (theirs === undefined) continue;
    const dtype = writtenType(ref, half);
    const data = () => bytesOf(file, ref, dtype);
    tensors.set(theirs, {
      dtype,
      shape: ref.shape,
      get data() {
        return data();
      },
    });
  }
  await writeSafetensors(path, tensors, { format: 'pt' }); // older transformers demand the format
  return new Map([...tensors].map(([name, { dtype }]) => [name, dtype]));
}

const writtenType = ({ dtype }: TensorRef, half: boolean): DType =>
  half && /^b?float/.test(dtype) ? 'float16' : dtype;

function bytesOf(file: TensorFile, ref: TensorRef, dtype: DType): Uint8Array {
  return scope(() => ops.to(file.tensor(ref), { dtype }).bytes());
}
