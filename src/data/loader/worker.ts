// A worker thread of a loader: takes the next image of the plan, waits for its slot to be free, decodes and transforms it
// into the slot.
import { readlinkSync } from 'node:fs';
import { type MessagePort, workerData } from 'node:worker_threads';
import { messageOf } from '../../errors.js';
import { loadSharp } from '../images/load-sharp.js';
import { MEAN_PIXEL } from '../images/normalization.js';
import { Cell, type LoaderDefect, LoaderMemory, type LoaderPlan, WorkerState } from './memory.js';

const { plan, port }: { plan: LoaderPlan; port: MessagePort } = workerData;
const memory = new LoaderMemory(plan);
const { control } = memory;
const stateCell = memory.stateCell(plan.worker);

/** The kernel's id of this thread, by which a loader whose event loop is blocked notices that the thread is gone. */
function kernelThread(): number {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  } catch {
    return 0; // no /proc: only an orderly end of the thread is noticed
  }
}

function report(defect: LoaderDefect): void {
  port.postMessage(defect);
}

/** Waits until image `index` may be written; false once the loader is closed. */
function waitForSlot(index: number): boolean {
  const batch = Math.floor(index / plan.batchSize);
  const cell = memory.openCell(batch % plan.slots);
  for (;;) {
    const open = Atomics.load(control, cell);
    if (Atomics.load(control, Cell.stop) !== 0) return false;
    if (open >= batch) return true;
    Atomics.wait(control, cell, open);
  }
}

function fillWithMean(pixels: Uint8Array): void {
  for (let i = 0; i < pixels.length; i += 3) pixels.set(MEAN_PIXEL, i);
}

async function work(): Promise<void> {
  // Loaded here and not above, so that a failure to load sharp or image.node is reported like any other.
  const [sharp, { decodeRgb }, { transformOf }] = await Promise.all([
    loadSharp(),
    import('../images/decode.js'),
    import('../images/transform.js'),
  ]);
  const transform = transformOf(plan.transform, plan.size);
  // One libvips thread in each worker: the workers already run in parallel.
  sharp.concurrency(1);
  sharp.cache(false);
  Atomics.store(control, memory.threadCell(plan.worker), kernelThread());
  Atomics.store(control, stateCell, WorkerState.running);
  for (;;) {
    const index = Atomics.add(control, Cell.nextImage, 1);
    if (index >= plan.images || !waitForSlot(index)) return;
    Atomics.store(control, memory.imageCell(plan.worker), index + 1);
    const pixels = memory.imagePixels(index);
    try {
      transform(await decodeRgb(memory.path(index), { maxPixels: plan.maxPixels }), index, pixels);
    } catch (error) {
      fillWithMean(pixels);
      report({ index, message: messageOf(error) });
    }
    Atomics.store(control, memory.imageCell(plan.worker), 0);
    Atomics.add(control, memory.doneCell(Math.floor(index / plan.batchSize) % plan.slots), 1);
    memory.signal();
  }
}

process.on('exit', () => {
  if (Atomics.load(control, stateCell) === WorkerState.finished) return;
  Atomics.store(control, stateCell, WorkerState.failed);
  memory.signal();
});

try {
  await work();
  Atomics.store(control, stateCell, WorkerState.finished);
} catch (error) {
  report({ message: messageOf(error) });
  Atomics.store(control, stateCell, WorkerState.failed);
}
memory.signal();
port.close();
