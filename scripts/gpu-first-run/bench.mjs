// Re-ranking and training steps of this program alone, in one process a precision, at the published base size.
// Usage: node bench.mjs CHECKPOINT PRECISION [--small]     CHECKPOINT is drawn by a rule unless it is there.
// Prints one line of JSON: { precision, pairs_per_second, feature_ms, step_ms, device_gib, … }.
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { startOwn } from '../../dist/bench/harness.js';
import { Reranked, Timed, Trained } from '../../dist/bench/protocol.js';
import { drawInputs } from '../../dist/bench/workload.js';

const [checkpoint, precision] = process.argv.slice(2);
const small = process.argv.includes('--small');
const sizes = small
  ? { vit: 'tiny', image_size: 96, queue_size: 64 }
  : { vit: 'base', image_size: 384, queue_size: 57600 };
const work = small ? { images: 8, k: 4, batch: 4, steps: 2 } : { images: 128, k: 128, batch: 32, steps: 8 };
const WARM_UP = 2;
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const threads = Math.min(8, availableParallelism());
const folder = dirname(checkpoint);
mkdirSync(folder, { recursive: true });

if (!existsSync(checkpoint)) {
  const worker = await startOwn(threads);
  const { seconds } = await worker.ask({ op: 'draw', checkpoint: `${checkpoint}.part`, ...sizes }, Timed);
  await worker.close();
  renameSync(`${checkpoint}.part`, checkpoint);
  console.error(`weights drawn in ${seconds.toFixed(1)} s`);
}
const setting = { checkpoint, ...sizes, device: 'cuda', precision };
const worker = await startOwn(threads, 'cuda');
const say = (answer) => console.log(JSON.stringify({ precision, ...answer }));
try {
  const { images, k, batch, steps } = work;
  const texts = 5 * images;
  const loaded = await worker.ask({ op: 'load', ...setting }, Timed);
  const inputs = await drawInputs(folder, { image_size: sizes.image_size, batch: 64, seed: 42 }, images, texts);
  const turn = () => worker.ask({ op: 'rerank', ...inputs, k }, Reranked);
  const first = await turn(); // kernels are loaded and buffers allocated
  const { seconds, memory } = await turn();
  const pairs = (images + texts) * k;
  say({
    pairs,
    load_s: loaded.seconds,
    pairs_per_second: pairs / seconds.rerank,
    first_pairs_per_second: pairs / first.seconds.rerank,
    feature_ms: (1e3 * seconds.features) / images,
    rerank_cpu_share: seconds.rerank_cpu / seconds.rerank,
    device_gib: memory.device_peak_bytes / 2 ** 30,
  });
  await worker.ask({ op: 'load_training', ...setting, vit_ckpt_layer: small ? 1 : 4 }, Timed);
  const rows = batch * (steps + WARM_UP);
  const training = await drawInputs(join(folder), { image_size: sizes.image_size, batch, seed: 43 }, rows, rows);
  const trained = await worker.ask({ op: 'train', ...training }, Trained);
  say({
    batch,
    step_ms: 1e3 * median(trained.seconds.slice(WARM_UP)),
    first_step_ms: 1e3 * trained.seconds[0],
    loss_ita: trained.loss_ita.at(-1),
    loss_itm: trained.loss_itm.at(-1),
    training_gib: trained.memory.device_peak_bytes / 2 ** 30,
  });
} finally {
  await worker.close();
}
