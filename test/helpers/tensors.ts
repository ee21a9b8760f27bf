// Tensors of the golden files, models built for them, and comparison within a tolerance.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { architectureOf } from '#blip/model/architecture.js';
import { BlipRetrieval, type ModelOptions } from '#blip/model/blip-retrieval.js';
import { isEvaluated, stateDictEntries } from '#blip/model/state-dict.js';
import * as ops from '#blip/torch/ops.js';
import { readSafetensors } from '#blip/torch/safetensors.js';
import { noGrad, scope, type Tensor } from '#blip/torch/tensor.js';
import { ruleWeights } from './rule-weights.js';

/** The tensors of a .safetensors file by name. */
export function goldenTensors(path: string): (name: string) => Tensor {
  const file = readSafetensors(path);
  return (name) => {
    const found = file.get(name);
    assert.ok(found, `${path} has no ${name}`);
    return ops.fromBytes(found.data, found.dtype, found.shape);
  };
}

/** The parsed content of a JSON file. */
export function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** The greatest absolute difference of two float tensors of one shape. */
export function largestDifference(actual: Tensor, expected: Tensor): number {
  assert.deepEqual(actual.shape, expected.shape);
  return scope(() =>
    noGrad(() =>
      ops
        .maxAll(
          ops.abs(
            ops.sub(
              ops.to(actual, { dtype: 'float64', device: 'cpu' }),
              ops.to(expected, { dtype: 'float64', device: 'cpu' }),
            ),
          ),
        )
        .item(),
    ),
  );
}

export function assertClose(actual: Tensor, expected: Tensor, tolerance: number, what: string): void {
  const difference = largestDifference(actual, expected);
  assert.ok(difference <= tolerance, `${what} differs by ${difference}, more than ${tolerance}`);
}

/** The tiny model with the weights of rule_tiny: the rule at scale 0.15. */
export function ruleTinyModel(options: ModelOptions = {}): BlipRetrieval {
  const architecture = architectureOf({ vit: 'tiny', imageSize: 96, queueSize: 64, medConfig: {} });
  const state = ruleWeights(stateDictEntries(architecture), { scale: 0.15, wanted: isEvaluated });
  return new BlipRetrieval(state, architecture, options);
}

/** Token rows without their padding, from ids and masks (n, L). */
export function unpadded(ids: Tensor, mask: Tensor): Int32Array[] {
  const [flatIds, flatMask, length] = [ids.integers(), mask.integers(), ids.size(1)];
  return Array.from({ length: ids.size(0) }, (_, row) =>
    Int32Array.from(
      flatIds.slice(row * length, (row + 1) * length).filter((_, column) => flatMask[row * length + column] === 1),
    ),
  );
}
