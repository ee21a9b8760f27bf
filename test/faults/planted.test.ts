// A planted fault is in the copy alone, is found by the tests there, and must still fit.
// Covers helpers/planted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plant, runCodeThere, runThere } from '../helpers/planted.js';

const fault = { file: 'dist/model/losses.js', from: '1 - alpha', to: '1 + alpha' };

test('a planted fault fails a test of the copy, by name, and no test of the original', async (t) => {
  const result = await runThere(plant([fault], t), 'model/training.test');
  assert.equal(result.code, 1, result.stderr);
  assert.match(result.stdout, /^not ok .*rule_tiny: twelve steps/m);
  assert.match(result.stdout, /: ITA is /);
  const sound = await runThere(plant([], t), 'model/training.test');
  assert.equal(sound.code, 0, sound.stdout);
});

test('a few lines run in the copy, with the planted program', async (t) => {
  const folder = plant([{ file: 'dist/data/images/augment.js', from: 'DRAWS = 2', to: 'DRAWS = 0' }], t);
  const code = `
    import { drawAugmentations } from '#blip/data/images/augment.js';
    console.log(drawAugmentations().length, process.env.PLANTED);`;
  assert.equal((await runCodeThere(folder, code, { PLANTED: 'yes' })).stdout, '0 yes\n');
});

test('a plant that no longer fits, or would change the original, is an error', (t) => {
  assert.throws(() => plant([{ ...fault, from: 'no such text' }], t), /no longer fits: .* 0 times, instead of once/);
  assert.throws(() => plant([{ ...fault, from: 'alpha' }], t), /no longer fits/);
  assert.throws(() => plant([{ ...fault, file: 'test/helpers/files.ts' }], t), /not copied/);
  assert.throws(() => plant([{ ...fault, file: 'dist/../build/x' }], t), /not copied/);
});
