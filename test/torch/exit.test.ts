// The end of the process while tensors live: the right exit code, no signal, no complaint.
// Covers native/handles.cc, boot.cc.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runNode } from '../helpers/run-node.js';

/** Tensors of every sort that are alive: plain, of a graph, generators, in a scope that is running. */
const LIVE = `
  import { Generator } from '#blip/torch/generator.js';
  const live = Array.from({ length: 100 }, (_, i) => ops.float32([i]));
  const leaf = ops.randn([100, 100]);
  leaf.requiresGrad = true;
  const graph = ops.sum(ops.matmul(leaf, leaf));
  graph.backward({ retainGraph: true });
  const generator = Generator.create(1);
`;

const ENDINGS: [name: string, code: string, exitCode: number, stderr: RegExp][] = [
  ['the end of the module', '', 0, /^$/],
  ['process.exit', 'process.exit(3);', 3, /^$/],
  ['process.exit in a scope', 'scope(() => { ops.add(leaf, 1); process.exit(4); });', 4, /^$/],
  [
    'process.exit in a getter that the addon reads',
    'native.disposeAll(Object.defineProperty([], 0, { get: () => process.exit(5) }));',
    5,
    /^$/,
  ],
  ['process.exit in an exit handler', "process.on('exit', () => { ops.add(leaf, 1); process.exit(6); });", 6, /^$/],
  ['an exception', "throw new Error('on purpose');", 1, /Error: on purpose/],
  [
    'an exception of the addon',
    'scope(() => ops.reshape(leaf, [3]));',
    1,
    /Error: aten::reshape: shape '\[3\]' is invalid for input of size 10000/,
  ],
  ['a promise that is refused', "await Promise.reject(new Error('on purpose'));", 1, /Error: on purpose/],
  ['an exception in a timer', "setTimeout(() => { throw new Error('on purpose'); });", 1, /Error: on purpose/],
];

for (const [name, code, exitCode, message] of ENDINGS) {
  test(`${name}: exit code ${exitCode}`, async () => {
    const result = await runNode(LIVE + code);
    assert.deepEqual([result.code, result.signal], [exitCode, null], result.stderr);
    assert.match(result.stderr, message);
    assert.doesNotMatch(result.stderr, /terminate called|Segmentation|frame #|c10::/, 'no C++ end');
  });
}

test('a signal ends the process as a signal does', async () => {
  const result = await runNode(`${LIVE} process.kill(process.pid, 'SIGTERM'); setInterval(() => undefined, 1000);`);
  assert.deepEqual([result.code, result.signal], [null, 'SIGTERM']);
});
