// The stand-in finds what it is for: faults planted in a copy of the program, each by the name of the operator and argument.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Plant, plant, runThere } from '../helpers/planted.js';

const PROGRAM = 'strict-cuda/all-parts';
const onCpu = (tensor: string) => `ops.to(${tensor}, { device: 'cpu' })`;
const got = (argument: string, method: string) =>
  new RegExp(`got ${argument} is on cpu, different from other tensors on cuda:0 \\(when checking .* aten::${method}`);

/** TensorIterator, which most element by element operators are made of, names the operator and the devices. */
const mixed = (method: string) =>
  new RegExp(
    `aten::${method}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu`,
  );

/** `from` → `to` in dist/`file`, or the tensor `from` ends with, left on the CPU. */
const faults: [what: string, plants: Plant[], found: RegExp][] = [
  [
    'the labels of the matching loss on the CPU',
    change('model/losses', 'ops.crossEntropy(logits, labels)', `ops.crossEntropy(logits, ${onCpu('labels')})`),
    got('target', 'nll_loss_forward'),
  ],
  [
    'token ids on the CPU',
    change('model/text-encoder', 'embedding(this.#words, ids)', `embedding(this.#words, ${onCpu('ids')})`),
    got('index', 'index_select'),
  ],
  [
    'positions of tokens on the CPU',
    change(
      'model/text-encoder',
      'embedding(this.#positions, positions)',
      `embedding(this.#positions, ${onCpu('positions')})`,
    ),
    got('index', 'index_select'),
  ],
  [
    "the pixels' mean on the CPU",
    change('model/normalize-images', 'ops.subInPlace(images, mean)', `ops.subInPlace(images, ${onCpu('mean')})`),
    mixed('sub_.Tensor'),
  ],
  [
    "the pixels' standard deviation on the CPU",
    change('model/normalize-images', 'ops.divInPlace(images, std)', `ops.divInPlace(images, ${onCpu('std')})`),
    mixed('div_.Tensor'),
  ],
  [
    "AdamW's steps on the CPU",
    change('torch/adamw', 'step: keep(ops.zeros([], { device: parameter.device }))', 'step: keep(ops.zeros([]))'),
    got('state_steps', '_fused_adamw_'),
  ],
  [
    "the queue's image numbers on the CPU",
    change('model/training-model', 'this.queues.idx], 1)', `${onCpu('this.queues.idx')}], 1)`),
    got('tensors', 'cat'),
  ],
  [
    'the images that negatives name, by numbers on the CPU',
    change('model/training-model', 'const images = inOrder ? allEmbeds : ', 'const images = ').concat(
      change(
        'model/training-model',
        'ops.indexSelect(allEmbeds, 0, pairs.images)',
        `ops.indexSelect(allEmbeds, 0, ${onCpu('pairs.images')})`,
      ),
    ),
    got('index', 'index_select'),
  ],
  [
    'the rows of each image on the CPU',
    change(
      'model/text-encoder',
      'ops.indexSelect(query, 0, rows.spread)',
      `ops.indexSelect(query, 0, ${onCpu('rows.spread')})`,
    ),
    got('index', 'index_select'),
  ],
  [
    "the drop path's samples on the CPU",
    change(
      'model/vision-transformer',
      'ops.empty([x.size(0), 1, 1], { device: x.device })',
      'ops.empty([x.size(0), 1, 1])',
    ),
    mixed('mul.Tensor'),
  ],
  [
    'columns of candidates on the CPU',
    change(
      'evaluation/candidates',
      'ops.indexSelect(similarities, 1, columnIndex)',
      `ops.indexSelect(similarities, 1, ${onCpu('columnIndex')})`,
    ),
    got('index', 'index_select'),
  ],
  [
    'rows of text stems on the CPU',
    change('evaluation/text-store', 'ops.indexSelect(stems, 0, rows)', `ops.indexSelect(stems, 0, ${onCpu('rows')})`),
    got('index', 'index_select'),
  ],
  [
    'boundaries of texts on the CPU',
    change(
      'model/packed-attention',
      'packing.cuSeqlensOfFirst : packing.cuSeqlens;',
      `${onCpu('packing.cuSeqlens')} : ${onCpu('packing.cuSeqlens')};`,
    ),
    /_efficient_attention_forward: cu_seqlens_q is on cpu, query on cuda:0/,
  ],
  [
    'boundaries of other texts',
    change('model/packed-texts', 'cuSeqlensOfFirst: Int32Array.from(cuSeqlens.keys())', 'cuSeqlensOfFirst: cuSeqlens'),
    /cu_seqlens_q run from 0 to \d+, tokens are \d+/,
  ],
  [
    'the length of the longest text, one too small',
    change(
      'model/packed-texts',
      'maxSeqlen: groups.at(-1)?.length ?? 0',
      'maxSeqlen: (groups.at(-1)?.length ?? 0) - 1',
    ),
    /_efficient_attention_forward: max_seqlen_[qk] 3 is less than the longest sequence, 4/,
  ],
  [
    'negatives drawn by a generator of the CPU',
    change('torch/ops', 'exponentialInPlace(waiting)', 'exponentialInPlace(waiting, 1, CPU)').concat(
      change(
        'torch/ops',
        "import { native } from './native.js';",
        "import { native } from './native.js';\nimport { Generator } from './generator.js';\nconst CPU = Generator.default('cpu');",
      ),
    ),
    /Expected a 'cuda' device type for generator but found 'cpu'/,
  ],
  [
    'random state of recomputed blocks from the CPU',
    change('model/vision-transformer', 'Generator.default(images.device)', "Generator.default('cpu')"),
    /recomputed blocks have other gradients/,
  ],
  [
    'a collective of a CPU tensor among those of the GPU',
    change('model/training-model', 'ranks.allGather(idx)', `ranks.allGather(${onCpu('idx')})`),
    mixed('eq.Tensor'),
  ],
  [
    'a tensor of the GPU read as if it were of the host',
    change(
      'model/losses',
      'ops.crossEntropy(logits, labels)',
      '(operatorInPlace("strict::touch")(labels), ops.crossEntropy(logits, labels))',
    ).concat(
      change(
        'model/losses',
        "import * as ops from '../torch/ops.js';",
        "import * as ops from '../torch/ops.js';\nimport { operatorInPlace } from '../torch/operator.js';",
      ),
    ),
    /strict: the host touched device memory/,
  ],
];

function change(module: string, from: string, to: string): Plant[] {
  return [{ file: `dist/${module}.js`, from, to }];
}

test('without a fault the program comes to its end', async (t) => {
  const { code, stdout, stderr } = await runThere(plant([], t), PROGRAM);
  assert.deepEqual([code, stdout, stderr], [0, 'done\n', '']);
});

for (const [what, plants, found] of faults)
  test(`finds ${what}`, async (t) => {
    const { code, stdout, stderr } = await runThere(plant(plants, t), PROGRAM);
    assert.notEqual(code, 0);
    assert.match(stdout + stderr, found);
  });
