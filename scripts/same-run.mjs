// Proves that a change leaves the arithmetic alone: the same runs in this checkout and in another, compared to the bit.
// Usage: node scripts/same-run.mjs OTHER_CHECKOUT [options of the demo, for a shorter run]
//        node scripts/same-run.mjs --compare FOLDER OTHER_FOLDER   (two output folders that are there already)
// Both checkouts must be built (npm run build). Runs the demo in one process, then two ranks that train its initial model
// for two epochs and evaluate what they trained. Ends with 1 where anything differs.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { root } from './build-steps.mjs';

// The same below both checkouts: checkpoints and config.yaml hold paths.
const output = 'output/same-run';
const FILES = ['evaluate.txt', 'log.txt', 'metrics.jsonl', 'scores_val.safetensors', 'scores_test.safetensors'];
const CHECKPOINT = 'checkpoint_best.pth';
/** What metrics.jsonl says of time and memory. */
const SPEED = ['data_wait', 'images_per_second', 'memory_mib'];

function command(checkout, args) {
  console.error(`${checkout}$ node dist/cli.js ${args.join(' ')}`);
  const { status, signal, error } = spawnSync(process.execPath, [join(checkout, 'dist/cli.js'), ...args], {
    cwd: checkout,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status !== 0) throw new Error(`The run failed (${error?.message ?? signal ?? `exit status ${status}`}).`);
}

/** The runs in one checkout, from nothing. */
function run(checkout, demoOptions) {
  rmSync(join(checkout, output), { recursive: true, force: true });
  command(checkout, ['demo', '--seed', '42', '--output_dir', `${output}/demo`, ...demoOptions]);
  const config = (pretrained) => [
    ...['--config', 'configs/demo.yaml', '--output_dir', `${output}/two`, '--nproc_per_node', '2', '--seed', '42'],
    ...['--set', `image_root=${output}/demo/data/images`, '--set', `ann_root=${output}/demo/data/annotation`],
    ...['--set', `pretrained=${output}/${pretrained}`],
  ];
  const training = ['--set', 'max_epoch=2', '--set', 'batch_size_train=16', '--log_every', '5'];
  command(checkout, [...config('demo/tiny.pth'), ...training]);
  command(checkout, [...config(`two/${CHECKPOINT}`), '--evaluate', '--save_scores']);
}

/** The fields of metrics.jsonl that both have, but for those of time and memory: the others are later versions'. */
function comparableMetrics(mine, other) {
  const files = [mine, other].map((path) =>
    readFileSync(path, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line)),
  );
  const keys = files.map((lines) => new Set(lines.flatMap((line) => Object.keys(line))));
  const isCompared = (key) => keys.every((own) => own.has(key)) && !SPEED.includes(key);
  const text = (line) =>
    `${JSON.stringify(Object.fromEntries(Object.entries(line).filter(([key]) => isCompared(key))))}\n`;
  return files.map((lines) => Buffer.from(lines.map(text).join('')));
}

/** Says in what two files differ; undefined for files of equal bytes. */
function byteDifference(mine, other) {
  const [a, b] = mine.endsWith('metrics.jsonl')
    ? comparableMetrics(mine, other)
    : [readFileSync(mine), readFileSync(other)];
  if (a.equals(b)) return undefined;
  const first = a.findIndex((byte, i) => byte !== b[i]);
  const position = first < 0 ? a.length : first;
  return `${a.length} and ${b.length} bytes, line ${a.subarray(0, position).filter((byte) => byte === 0x0a).length + 1} is the first that differs`;
}

/** The same for checkpoints: tensors bit by bit, and numbers; paths in the config may differ. */
async function checkpointDifference(mine, other) {
  const { flattenCheckpoint, openCheckpoint } = await import('../dist/core.js');
  const read = async (path) => ({ bytes: readFileSync(path), ...flattenCheckpoint(await openCheckpoint(path)) });
  const [a, b] = [await read(mine), await read(other)];
  const differing = [];
  const compare = (of, isEqual) => {
    for (const name of new Set([...a[of].keys(), ...b[of].keys()])) {
      const both = a[of].has(name) && b[of].has(name);
      if (!both || !isEqual(a[of].get(name), b[of].get(name))) differing.push(name);
    }
  };
  const storage = (bytes, { fileOffset, storageBytes }) => bytes.subarray(fileOffset, fileOffset + storageBytes);
  const layout = ({ dtype, shape, stride, storageOffset }) => JSON.stringify([dtype, shape, stride, storageOffset]);
  compare('tensors', (x, y) => layout(x) === layout(y) && storage(a.bytes, x).equals(storage(b.bytes, y)));
  compare('values', (x, y) => Object.is(x, y) || (typeof x === 'string' && typeof y === 'string'));
  if (differing.length === 0) return { equal: `${a.tensors.size} tensors` };
  const names = differing.slice(0, 5).join(', ');
  return { different: `${differing.length} of ${a.tensors.size + a.values.size} entries differ: ${names}` };
}

/** One line for each file that either folder has; whether all are the same. */
async function compare(folder, other) {
  let same = true;
  const report = (file, difference, note = '') => {
    console.log(
      `${difference === undefined ? 'same     ' : 'DIFFERENT'} ${join(folder, file)}${difference === undefined ? note : `: ${difference}`}`,
    );
    if (difference !== undefined) same = false;
  };
  let compared = 0;
  for (const file of [...FILES, CHECKPOINT]) {
    const [mine, theirs] = [join(folder, file), join(other, file)];
    if (!existsSync(mine) && !existsSync(theirs)) continue;
    compared += 1;
    if (!existsSync(mine) || !existsSync(theirs)) {
      report(file, `only in ${existsSync(mine) ? folder : other}`);
    } else if (file === CHECKPOINT) {
      const { equal, different } = await checkpointDifference(mine, theirs);
      report(file, different, ` (${equal})`);
    } else report(file, byteDifference(mine, theirs));
  }
  if (compared === 0) report('', 'there is no file to compare');
  return same;
}

const [first, ...rest] = process.argv.slice(2);
if (first === undefined || (first === '--compare' && rest.length !== 2)) {
  console.error(
    'Usage: node scripts/same-run.mjs OTHER_CHECKOUT [options of the demo] | --compare FOLDER OTHER_FOLDER',
  );
  process.exit(2);
}
let same = true;
if (first === '--compare') same = await compare(rest[0], rest[1]);
else {
  const other = resolve(first);
  for (const checkout of [root, other]) run(checkout, rest);
  for (const name of ['demo', 'two'])
    if (!(await compare(join(root, output, name), join(other, output, name)))) same = false;
}
process.exitCode = same ? 0 : 1;
