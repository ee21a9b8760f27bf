// config.yaml: what is written reads back equal, with the forms that YAML 1.1 readers need.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { toPythonYaml, writeConfig } from '#blip/config/write.js';
import { parseMapping } from '#blip/config/yaml.js';
import { temporaryFolder } from '../helpers/files.js';

const awkward = {
  yes: 'yes',
  number_text: '1e-5',
  octal: '0o17',
  old_octal: '017',
  underscore: '1_000',
  time: '12:30:00',
  date: '2020-01-01',
  empty: '',
  colon: 'a: b',
  hash: 'a # b',
  unicode: 'é😀',
  long: `${'x'.repeat(50)} ${'y'.repeat(90)}`,
  lines: 'a\nb\n',
  tiny: 1e-7,
  rate: 1e-5,
  huge: 1e21,
  half: 0.5,
  flag: true,
  med_config: { num_hidden_layers: 6, architectures: ['BertModel'] },
};

test('the text reads back equal', () => {
  const back = parseMapping(toPythonYaml(awkward), 'text').values;
  assert.deepEqual({ ...back }, awkward);
});

test('keys are sorted, and floats have the point that YAML 1.1 asks for', () => {
  assert.equal(
    toPythonYaml({ vit: 'base', alpha: 0.4, init_lr: 1e-7, vit_grad_ckpt: true, med_config: { b: 1, a: 'on' } }),
    "alpha: 0.4\ninit_lr: 1.e-7\nmed_config:\n  a: 'on'\n  b: 1\nvit: base\nvit_grad_ckpt: true\n",
  );
});

test('config.yaml holds the mapping as it was given, in a folder that is made when absent', (t) => {
  const folder = join(temporaryFolder(t), 'a', 'b');
  const raw = { vit: 'base', init_lr: 1e-5, k_test: 256, negative_all_rank: true, med_config: { hidden_act: 'gelu' } };
  writeConfig(folder, raw);
  const text = readFileSync(join(folder, 'config.yaml'), 'utf8');
  assert.deepEqual({ ...parseMapping(text, 'config.yaml').values }, raw);
});
