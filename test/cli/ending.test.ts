// What a training says at its end on a terminal: the command that it names runs as it is, whatever the folder is called and
// whatever flags the training had. Covers commands/ending, config/yaml (yamlText).
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { parseValue, yamlText } from '#blip/config/yaml.js';
import { noTerminal, shownBy } from '../helpers/pseudo-terminal.js';
import { cliPath } from '../helpers/run-cli.js';
import { readJson } from '../helpers/tensors.js';
import { TinyRuns, tinyData } from '../helpers/tiny-run.js';

const tiny = new TinyRuns({ changes: { max_epoch: 1, batch_size_train: 24 }, few: true });
before(async () => {
  await tiny.write();
  // Every image by its whole path: outside image_root.
  for (const name of readdirSync(tiny.annRoot)) {
    const file = join(tiny.annRoot, name);
    const rows = readJson<{ image: string }[]>(file);
    writeFileSync(file, JSON.stringify(rows.map((row) => ({ ...row, image: join(tinyData, 'images', row.image) }))));
  }
});

test('a text is given to --set as YAML reads it back', () => {
  for (const plain of ['a/b.pth', 'a b/ü.pth', "it's/a.pth", 'C:/x']) assert.equal(yamlText(plain), plain);
  for (const text of ['a #1/b.pth', 'a: b/c', '12', 'true', '[a', '"a', ' a', '', '~', '{a}', '*a']) {
    assert.notEqual(yamlText(text), text);
    assert.equal(parseValue(yamlText(text), 'a test'), text);
  }
});

test('the command that evaluates what was trained can be copied and run', { skip: noTerminal }, async () => {
  // Without the flag of outside images it would fail, and with the digest, which is that of the first weights.
  const sha256 = createHash('sha256').update(tiny.read('rule_tiny.pth')).digest('hex');
  const flags = ['--set', `image_root=${tiny.folder}`, '--set', `sha256=${sha256}`, '--allow_outside_images'];
  const output = 'run #1: it\'s "mine"';
  const lines = await shownBy(tiny.args(output, ...flags), { columns: 70 });
  const command = lines.slice(lines.indexOf('Next, evaluate it:') + 1).join('\n');
  assert.match(command, /^ {2}npx blip-retrieval evaluate /, lines.join('\n'));
  const script = `npx() { shift; "$NODE" "$CLI" "$@"; }\n${command}\n`;
  const env = { ...process.env, NODE: process.execPath, CLI: cliPath, OMP_NUM_THREADS: '1' };
  assert.match(execFileSync('sh', ['-c', script], { encoding: 'utf8', env }), /^Evaluated in /m);
  assert.ok(tiny.read(output, 'evaluated', 'evaluate.txt').length > 0);
});
