// The model's state dict against the reference's listings: names, shapes, dtypes, order, number of parameters.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { architectureOf, type VisionName } from '#blip/model/architecture.js';
import { isEvaluated, isTrained, stateDictEntries } from '#blip/model/state-dict.js';
import { fixture, projectRoot } from '../helpers/fixtures.js';
import { readJson } from '../helpers/tensors.js';

interface Listing {
  trainable_parameters: number;
  entries: [string, number[], string][];
}

for (const vit of ['base', 'large'] as VisionName[]) {
  test(`the ${vit} model has the reference's state dict`, () => {
    const listing = readJson<Listing>(fixture(`state_dict_${vit}.json`) as string);
    const entries = stateDictEntries(architectureOf({ vit, imageSize: 384, queueSize: 57600, medConfig: {} }));
    assert.deepEqual(entries, listing.entries);
    const trained = entries
      .filter(([name]) => isTrained(name))
      .map(([, shape]) => shape.reduce((n, size) => n * size, 1));
    assert.equal(
      trained.reduce((total, n) => total + n, 0),
      listing.trainable_parameters,
    );
  });
}

test("the tiny model has the reference's state dict and order of parameters", () => {
  const folder = `${projectRoot}/test/golden/rule_tiny`;
  const listing = readJson<{ name: string; shape: number[] }[]>(`${folder}/tiny_state_dict.json`);
  const entries = stateDictEntries(architectureOf({ vit: 'tiny', imageSize: 96, queueSize: 64, medConfig: {} }));
  assert.deepEqual(
    entries.map(([name, shape]) => ({ name, shape })),
    listing.map(({ name, shape }) => ({ name, shape })),
  );
  const parameters = readJson<{ name: string; requires_grad: boolean }[]>(`${folder}/tiny_parameters.json`);
  const trained = parameters.filter((p) => p.requires_grad).map((p) => p.name);
  const names = entries.map(([name]) => name);
  assert.deepEqual(names.filter(isTrained), trained);
  assert.deepEqual(
    names.filter(isEvaluated),
    trained.filter((name) => name !== 'temp'),
  );
});

test('sizes that contradict each other are refused', () => {
  const config = { vit: 'tiny' as const, imageSize: 96, medConfig: { hiddenSize: 66 } };
  assert.throws(
    () => architectureOf(config),
    /multiple of num_attention_heads \(4\) for med_config\.hidden_size but received the number 66/,
  );
});
