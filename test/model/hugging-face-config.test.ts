// config.json beside weights of Hugging Face: whatever is in it, each setting that differs gets a line, and none a failure.
// Covers model/hugging-face-config.
import assert from 'node:assert/strict';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { describeConfigJson } from '#blip/model/hugging-face-config.js';
import { temporaryFolder } from '../helpers/files.js';
import { tinyArchitecture } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const config = join(folder, 'config.json');

function said(text: string): string[] {
  writeFileSync(config, text);
  return describeConfigJson({ config }, tinyArchitecture).map((line) => line.replace(config, 'config.json'));
}

test('a config.json that is none is said to be not compared', () => {
  const cannot = /^config\.json cannot be read as a JSON object\. Numbers of heads .* were not compared/;
  for (const text of ['', '{"text_config": {', '[1, 2]', 'null', '{"text_config": {"layer_norm_eps": NaN}}']) {
    const lines = said(text);
    assert.equal(lines.length, 1, text);
    assert.match(lines[0] ?? '', cannot);
  }
  const other = join(folder, 'folder/config.json');
  mkdirSync(other, { recursive: true });
  assert.equal(describeConfigJson({ config: other }, tinyArchitecture).length, 1);
  writeFileSync(config, '{}');
  truncateSync(config, 3e9); // longer than Node's longest text
  assert.equal(describeConfigJson({ config }, tinyArchitecture).length, 1);
});

test('one setting of an odd type hides no other', () => {
  assert.deepEqual(said('{"text_config": null, "vision_config": [1], "architectures": 3}'), []);
  assert.deepEqual(said('{"text_config": {"layer_norm_eps": null, "hidden_act": "gelu"}}'), []);
  const lines = said(
    JSON.stringify({
      text_config: { num_attention_heads: '8', hidden_act: 'relu\u001b[31m' },
      vision_config: { layer_norm_eps: 1e-5, num_attention_heads: { of: ['odd'] } },
    }),
  );
  assert.deepEqual(
    lines.map((line) => line.replace(/ is used: .*/, '')),
    [
      'config.json says text_config.num_attention_heads "8"; 4',
      'config.json says vision_config.num_attention_heads {"of":["odd"]}; 4',
      'config.json says vision_config.layer_norm_eps 0.00001; 0.000001',
      'config.json says text_config.hidden_act "relu\\u001b[31m"; gelu',
    ],
  );
});
