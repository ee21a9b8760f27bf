// Checkpoints as other programs leave them, evaluated and inspected by a user: wrappers' prefixes, other keys, objects
// beside the weights, entries that are no tensors, whole modules; and no checkpoint at all.
// Covers model/checkpoint-names, torch/checkpoint/inspect.
import assert from 'node:assert/strict';
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { plainNames } from '#blip/model/checkpoint-names.js';
import { stateDictEntries } from '#blip/model/state-dict.js';
import { type WritableValue, writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { testDevice } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { fixture } from '../helpers/fixtures.js';
import { ruleWeights } from '../helpers/rule-weights.js';
import { runCli } from '../helpers/run-cli.js';
import {
  evaluationValues,
  fewEvaluated,
  tinyArchitecture,
  tinyCheckpoint,
  writeConfigFile,
} from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const annRoot = fewEvaluated(folder);

/** Evaluates the checkpoint `file` of the folder into `output`. */
async function evaluate(file: string, output: string, ...flags: string[]) {
  const config = writeConfigFile(join(folder, `${output}.yaml`), { ...evaluationValues(file), ann_root: annRoot });
  const args = [
    '--config',
    config,
    '--output_dir',
    join(folder, output),
    '--evaluate',
    '--device',
    testDevice,
    ...flags,
  ];
  const run = await runCli(args);
  return { ...run, recalls: run.code === 0 ? readFileSync(join(folder, output, 'evaluate.txt'), 'utf8') : '' };
}

/** The tiny model's weights under the names that `rename` gives. */
function weights(rename: (name: string) => string): Map<string, WritableValue> {
  const entries = stateDictEntries(tinyArchitecture);
  const state = ruleWeights(entries, { scale: 0.15 });
  return new Map(
    entries.map(([name, shape, dtype]) => [
      rename(name),
      { dtype, shape, data: state.get(name)?.bytes() ?? new Uint8Array() },
    ]),
  );
}

let plain: Awaited<ReturnType<typeof evaluate>>;
before(async () => {
  plain = await evaluate(await tinyCheckpoint(folder), 'plain');
  assert.equal(plain.code, 0, plain.stderr);
  assert.doesNotMatch(plain.stdout, /prefix|found under/);
});

test('prefixes of wrappers come off, other keys are found, and entries that are no tensors are named', async () => {
  const compiled = (name: string) => `module._orig_mod.${name.replace('visual_encoder.', 'visual_encoder._orig_mod.')}`;
  const model = new Map<string, WritableValue>([...weights(compiled), ['num_updates', 37]]);
  const path = join(folder, 'wrapped.pth');
  await writeCheckpoint(path, { epoch: 3, model_state_dict: model });
  const { code, stdout, stderr, recalls } = await evaluate(path, 'wrapped');
  assert.equal(code, 0, stderr);
  assert.equal(recalls, plain.recalls);
  assert.match(stdout, /^weights found under "model_state_dict"$/m);
  assert.match(stdout, /^prefix "module\." and "_orig_mod\." taken off \d+ names$/m);
  assert.match(stdout, /^load checkpoint from .*: 262 loaded, 3 missing.*, 1 unexpected, 3 of another shape$/m);
  assert.match(stdout, /^unexpected, not used: num_updates \(a number\)$/m);
});

test('field: what can be read is loaded, an object beside the weights is skipped, a whole module is named', async () => {
  const source = fixture('field/checkpoints');
  assert.ok(source !== undefined);
  for (const [name, line] of [
    ['posix_path', /: 2 loaded, \d+ missing, 0 unexpected/],
    ['easydict', /: 2 loaded, \d+ missing, 0 unexpected/],
    ['ddp_prefix', /^prefix "module\." taken off 2 names$/m],
    ['with_number', /^unexpected, not used: num_updates \(a number\)$/m],
  ] as const) {
    const path = join(folder, `${name}.pth`);
    cpSync(join(source, `${name}.pth`), path);
    const { code, stdout, stderr } = await evaluate(path, name, '--allow_partial');
    assert.equal(code, 0, stderr);
    assert.match(stdout, line, name);
  }
  const whole = await evaluate(join(source, 'whole_module.pth'), 'whole');
  assert.equal(whole.code, 1);
  assert.match(whole.stderr, /whole_module\.pth: it holds a whole module \(models\.blip_retrieval\.BLIP_Retrieval\)/);
  assert.match(whole.stderr, /torch\.save\(\{'model': model\.state_dict\(\)\}/);
});

test('field: inspect names the objects that were not made', async () => {
  const source = fixture('field/checkpoints');
  assert.ok(source !== undefined);
  const table = await runCli(['inspect', join(source, 'posix_path.pth'), '--all']);
  assert.match(table.stdout, /^config\/output_dir = opaque: pathlib\.PosixPath$/m);
  const json = await runCli(['inspect', join(source, 'easydict.pth'), '--json']);
  assert.deepEqual((JSON.parse(json.stdout) as { opaque: unknown }).opaque, { config: 'easydict.EasyDict' });
  const whole = await runCli(['inspect', join(source, 'whole_module.pth')]);
  assert.equal(whole.code, 0);
  assert.match(whole.stdout, /BLIP_Retrieval is a whole module\..*state_dict\(\)/);
});

test('a prefix comes off where nearly all names have it and nothing is lost by it', () => {
  const known = new Set(['a', 'b.c', 'd']);
  const plainOf = (...names: string[]) => plainNames(names, (name) => known.has(name));
  const mapping = (...names: string[]) => Object.fromEntries(plainOf(...names).fileNames);
  assert.deepEqual(mapping('a', 'b.c'), { a: 'a', 'b.c': 'b.c' });
  assert.deepEqual(mapping('module.a', 'module.b.c'), { a: 'module.a', 'b.c': 'module.b.c' });
  assert.deepEqual(mapping('module.model.a', 'module.model.x'), { a: 'module.model.a', x: 'module.model.x' });
  assert.deepEqual(mapping('model.x', 'model.y'), { x: 'model.x', y: 'model.y' }, 'a wrapper, though no name is known');
  assert.deepEqual(mapping('blip.a', 'blip.x'), { a: 'blip.a', x: 'blip.x' }, 'another name, by what is known');
  assert.deepEqual(mapping('b.x', 'b.y'), { 'b.x': 'b.x', 'b.y': 'b.y' }, 'part of a model');
  assert.deepEqual(mapping('module.a', 'x', 'y'), { 'module.a': 'module.a', x: 'x', y: 'y' }, 'not most of them');
  assert.deepEqual(mapping('_orig_mod.a', 'a'), { '_orig_mod.a': '_orig_mod.a', a: 'a' }, 'the name is taken');
  const averaged = ['n_averaged', ...Array.from({ length: 12 }, (_, i) => `module.x${i}`)];
  assert.deepEqual([plainOf(...averaged).prefixes, plainOf(...averaged).count], [['module.'], 12]);
  assert.deepEqual(plainOf().prefixes, []);
});
