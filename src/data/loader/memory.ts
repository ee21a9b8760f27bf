// The memory that an image loader shares with its worker threads: its layout, and the few operations on it.
import { at, UserError } from '../../errors.js';
import { counted } from '../../logging/text.js';
import type { ImageTransform } from '../images/transform.js';
import { type TextList, texts } from '../text-list.js';

/** Int32 cells that exist once. */
export const Cell = { nextImage: 0, stop: 1, events: 2, count: 3 } as const;

/** A worker's last reported state. */
export const WorkerState = { starting: 0, running: 1, finished: 2, failed: 3 } as const;

const CELLS_PER_SLOT = 2;
const CELLS_PER_WORKER = 3;

/** What a worker thread is started with. */
export interface LoaderPlan {
  /** Index of this worker. */
  worker: number;
  workers: number;
  slots: number;
  images: number;
  batchSize: number;
  /** Side of an image in pixels. */
  size: number;
  maxPixels: number | undefined;
  transform: ImageTransform;
  /** Int32 cells: Cell, then each slot's, then each worker's. */
  control: SharedArrayBuffer;
  /** (slots, batchSize, size, size, 3) uint8. */
  pixels: SharedArrayBuffer;
  /** Int32 [paths + 1]: where path i starts in pathBytes. */
  pathOffsets: SharedArrayBuffer;
  pathBytes: SharedArrayBuffer;
  /** Int32 [images]: which path each image is. */
  pathOf: SharedArrayBuffer;
}

/** A message from a worker: an image that could not be read, or (without an index) the end of the worker. */
export interface LoaderDefect {
  index?: number;
  message: string;
}

/** The plan with typed views of its memory. */
export class LoaderMemory {
  readonly control: Int32Array;
  readonly #pixels: Uint8Array;
  readonly #offsets: Int32Array;
  readonly #paths: Buffer;
  readonly #pathOf: Int32Array;

  constructor(readonly plan: LoaderPlan) {
    this.control = new Int32Array(plan.control);
    this.#pixels = new Uint8Array(plan.pixels);
    this.#offsets = new Int32Array(plan.pathOffsets);
    this.#paths = Buffer.from(plan.pathBytes);
    this.#pathOf = new Int32Array(plan.pathOf);
  }

  /** Cell: the batch for which the slot is open. Workers wait on it. */
  openCell(slot: number): number {
    return Cell.count + slot * CELLS_PER_SLOT;
  }

  /** Cell: number of finished images of that batch. */
  doneCell(slot: number): number {
    return Cell.count + slot * CELLS_PER_SLOT + 1;
  }

  /** Cell: a WorkerState. */
  stateCell(worker: number): number {
    return Cell.count + this.plan.slots * CELLS_PER_SLOT + worker * CELLS_PER_WORKER;
  }

  /** Cell: the kernel's id of the worker thread; 0 while unknown. */
  threadCell(worker: number): number {
    return this.stateCell(worker) + 1;
  }

  /** Cell: the image that the worker is reading, plus 1; 0 for none. */
  imageCell(worker: number): number {
    return this.stateCell(worker) + 2;
  }

  path(index: number): string {
    const path = at(this.#pathOf, index);
    return this.#paths.toString('utf8', at(this.#offsets, path), at(this.#offsets, path + 1));
  }

  /** Number of images in a batch; the last may be short. */
  batchCount(batch: number): number {
    const { batchSize, images } = this.plan;
    return Math.min(batchSize, images - batch * batchSize);
  }

  /** The first `count` images of a slot: (count, size, size, 3) uint8. */
  slotPixels(slot: number, count: number): Uint8Array {
    const bytes = this.#imageBytes();
    const start = slot * this.plan.batchSize * bytes;
    return this.#pixels.subarray(start, start + count * bytes);
  }

  /** The memory for image `index`: (size, size, 3) uint8. */
  imagePixels(index: number): Uint8Array {
    const { batchSize, slots } = this.plan;
    const bytes = this.#imageBytes();
    const slot = Math.floor(index / batchSize) % slots;
    const start = (slot * batchSize + (index % batchSize)) * bytes;
    return this.#pixels.subarray(start, start + bytes);
  }

  /** Wakes the thread that waits for a worker. */
  signal(): void {
    Atomics.add(this.control, Cell.events, 1);
    Atomics.notify(this.control, Cell.events);
  }

  #imageBytes(): number {
    return this.plan.size * this.plan.size * 3;
  }
}

/** @throws UserError when the machine does not have that much memory */
function pixelMemory({ slots, batchSize, size }: Pick<LoaderPlan, 'slots' | 'batchSize' | 'size'>): SharedArrayBuffer {
  const bytes = slots * batchSize * size * size * 3;
  try {
    return new SharedArrayBuffer(bytes);
  } catch (error) {
    throw new UserError(
      `Memory is short: ${counted(slots * batchSize, 'decoded image')} of ${size} x ${size} pixels take ${bytes} bytes. Lower the batch size.`,
      { cause: error },
    );
  }
}

/** Memory of a new loader, with all slots open for the first batches. */
export function allocate(
  paths: TextList,
  order: Int32Array | undefined,
  shape: Pick<LoaderPlan, 'workers' | 'slots' | 'batchSize' | 'size' | 'maxPixels' | 'transform'>,
): LoaderPlan {
  const pathOffsets = new SharedArrayBuffer(4 * (paths.length + 1));
  const offsets = new Int32Array(pathOffsets);
  let end = 0;
  for (const [index, path] of texts(paths)) {
    end += Buffer.byteLength(path);
    offsets[index + 1] = end;
  }
  const pathBytes = new SharedArrayBuffer(end);
  const target = Buffer.from(pathBytes);
  for (const [index, path] of texts(paths)) target.write(path, at(offsets, index));
  const images = order?.length ?? paths.length;
  const pathOf = new SharedArrayBuffer(4 * images);
  new Int32Array(pathOf).set(order ?? Int32Array.from({ length: images }, (_, index) => index));
  const cells = Cell.count + shape.slots * CELLS_PER_SLOT + shape.workers * CELLS_PER_WORKER;
  const plan: LoaderPlan = {
    ...shape,
    worker: -1,
    images,
    control: new SharedArrayBuffer(4 * cells),
    pixels: pixelMemory(shape),
    pathOffsets,
    pathBytes,
    pathOf,
  };
  const memory = new LoaderMemory(plan);
  for (let slot = 0; slot < plan.slots; slot++) memory.control[memory.openCell(slot)] = slot;
  return plan;
}
