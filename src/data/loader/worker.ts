// A loader's worker thread: takes the next image of the plan, waits until its slot is free, decodes and transforms into it.
import { readlinkSync } from 'node:fs';
import { type MessagePort, workerData } from 'node:worker_threads';
import { messageOf } from '../../errors.js';
import { MEAN_PIXEL } from '../images/normalization.js';
import { Cell, type LoaderDefect, LoaderMemory, type LoaderPlan, WorkerState } from './memory.js';

const { plan, port }: { plan: LoaderPlan; port: MessagePort } = workerData;
const memory = new LoaderMemory(plan);
const { control } = memory;
const stateCell = memory.stateCell(plan.worker);

/** The kernel's id of this thread, by which a loader that cannot turn its event loop notices that it is gone. */
function kernelThread(): number {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  } catch {
    return 0; // no /proc: only the orderly ends of a thread are noticed
  }
}

function report(defect: LoaderDefect): void {
  port.postMessage(defect);
}

/** Waits until image `index` may be written; false when the loader was closed. */
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
  for (let i = 0; i < pixels.length; i++) pixels[i] = MEAN_PIXEL[i % 3] ?? 0;
}

async function work(): Promise<void> {
  // Loaded here and not above, so that a failure (an addon that does not open) is reported like any other.
  const [{ default: sharp }, { evaluationTransform }, { trainingTransform }] = await Promise.all([
    import('sharp'),
    import('../images/decode.js'),
    import('../images/train-transform.js'),
  ]);
  // One libvips thread for each worker: they run side by side already.
  sharp.concurrency(1);
  sharp.cache(false);
  Atomics.store(control, memory.threadCell(plan.worker), kernelThread());
  Atomics.store(control, stateCell, WorkerState.running);
  const { transform } = plan;
  const options = { maxPixels: plan.maxPixels };
  for (;;) {
    const index = Atomics.add(control, Cell.nextImage, 1);
    if (index >= plan.images || !waitForSlot(index)) return;
    Atomics.store(control, memory.imageCell(plan.worker), index + 1);
    const pixels = memory.imagePixels(index);
    try {
      if (transform.kind === 'evaluation') {
        await evaluationTransform(memory.path(index), plan.size, pixels, options);
      } else {
        const { seed, epoch, first, stride = 1 } = transform;
        const place = { seed, epoch, position: first + index * stride };
        await trainingTransform(memory.path(index), plan.size, pixels, place, options);
      }
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
