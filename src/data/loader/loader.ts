// Decodes images into batches of pixels on worker threads, which do not need the main thread's event loop.
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { UserError } from '../../errors.js';
import { counted } from '../../logging/text.js';
import { mostBadImages, type UnreadImage } from '../bad-images.js';
import type { ImageTransform } from '../images/transform.js';
import type { TextList } from '../text-list.js';
import { allocate, Cell, type LoaderDefect, LoaderMemory, WorkerState } from './memory.js';

export interface ImageLoaderOptions {
  /** Files in the order of the batches; a path may come more than once. */
  paths: TextList;
  /** Which of the paths each image is, where they are not in the order of the batches. */
  order?: Int32Array;
  /** Side of the square that each image becomes, in pixels. */
  size: number;
  batchSize: number;
  /** Threads; by default one for each processor, at most 16. */
  workers?: number;
  /** Batches that may be ready or not yet released at a time; 3 by default. */
  slots?: number;
  /** A bad image becomes the mean colour and is listed; by default it is an error. */
  skipBadImages?: boolean;
  /** Largest width times height of an image. */
  maxPixels?: number;
  /** By default the evaluation's. A training sample's pixels depend only on its position, not on threads or batches. */
  transform?: ImageTransform;
}

export interface BadImage extends UnreadImage {
  index: number;
}

/** Decoded images in order: what an evaluation takes, from this loader or from another source. */
export interface ImageBatch {
  count: number;
  /** (count, size, size, 3) uint8, exactly these bytes; valid until `release`. */
  data: Uint8Array;
  /** Gives the memory back. */
  release(): void;
}

/** Images [start, start + count) of the paths. `data` is shared with the workers, who wait for its release. */
export interface LoaderBatch extends ImageBatch {
  start: number;
  /** Images of this batch that could not be read and are the mean colour. */
  bad: BadImage[];
}

const MOST_WORKERS = 16;
/** How long to wait before checking that the workers are alive. */
const LOOK_MS = 200;
/** How long a worker may take to load its modules. */
const START_MS = 60_000;

interface Thread {
  worker: Worker;
  port: MessagePort;
}

function checkPositions({ seed, epoch, first, stride = 1 }: Extract<ImageTransform, { kind: 'train' }>): void {
  const positions = { epoch, first, 'stride - 1': stride - 1 };
  for (const [name, value] of Object.entries(positions)) {
    if (!Number.isSafeInteger(value) || value < 0)
      throw new RangeError(`ImageLoader: ${name} must be a whole number, 0 or more`);
  }
  if (!Number.isSafeInteger(seed)) throw new RangeError('ImageLoader: seed must be a whole number');
}

/**
 * Decodes and transforms images ahead of their use. Workers take the images in order from a plan that they receive at
 * the start, and write into a ring of slots. `next` waits for the slot of the next batch with Atomics, so the workers
 * continue while this thread is inside native code.
 */
export class ImageLoader {
  readonly #memory: LoaderMemory;
  readonly #threads: Thread[];
  readonly #skip: boolean;
  readonly #bad = new Map<number, BadImage>();
  readonly #held = new Set<number>();
  readonly #started = performance.now();
  #badCount = 0;
  #batch = 0;
  #failure: string | undefined;
  #closed = false;

  constructor(options: ImageLoaderOptions) {
    const { paths, size, batchSize } = options;
    const { workers = Math.min(availableParallelism(), MOST_WORKERS), slots = 3 } = options;
    const { transform = { kind: 'evaluation' } } = options;
    for (const [name, value] of Object.entries({ size, batchSize, workers, slots })) {
      if (!Number.isInteger(value) || value < 1)
        throw new RangeError(`ImageLoader: ${name} must be a whole number, 1 or more`);
    }
    if (transform.kind === 'train') checkPositions(transform);
    this.#skip = options.skipBadImages ?? false;
    const images = options.order?.length ?? paths.length;
    const batches = Math.ceil(images / batchSize);
    const plan = allocate(paths, options.order, {
      size,
      batchSize: Math.max(1, Math.min(batchSize, images)),
      workers: Math.min(workers, images),
      slots: Math.max(1, Math.min(slots, batches)),
      maxPixels: options.maxPixels,
      transform,
    });
    this.#memory = new LoaderMemory(plan);
    this.#threads = Array.from({ length: plan.workers }, (_, worker) => {
      const { port1, port2 } = new MessageChannel();
      const thread = new Worker(new URL('./worker.js', import.meta.url), {
        name: `image loader ${worker}`,
        workerData: { plan: { ...plan, worker }, port: port2 },
        transferList: [port2],
        // A worker does not start with some flags of the main thread, such as --eval.
        execArgv: [],
      });
      // The threads must neither keep a finished program alive nor end it by an error in a worker.
      thread.unref();
      thread.on('error', (error) => {
        this.#failure ??= error.message;
      });
      return { worker: thread, port: port1 };
    });
  }

  /** Number of images so far that could not be read. */
  get badCount(): number {
    return this.#badCount;
  }

  /**
   * The next batch in order; null after the last. Blocks until it is ready.
   * @throws UserError for an image that cannot be read (unless skipBadImages), or when a worker has died; Error when
   * every slot is held
   */
  next(): LoaderBatch | null {
    if (this.#closed) throw new Error('ImageLoader: next() was called after close().');
    const { plan, control } = this.#memory;
    const batch = this.#batch;
    const start = batch * plan.batchSize;
    if (start >= plan.images) return null;
    const slot = batch % plan.slots;
    if (this.#held.has(slot))
      throw new Error('ImageLoader: every slot is held. Call release() of a batch before next().');
    const count = this.#memory.batchCount(batch);
    for (;;) {
      const events = Atomics.load(control, Cell.events);
      if (Atomics.load(control, this.#memory.doneCell(slot)) === count) break;
      this.#throwIfDead();
      if (Atomics.wait(control, Cell.events, events, LOOK_MS) === 'timed-out') this.#lookForDead();
    }
    this.#receive();
    const bad = this.#takeBad(start, count);
    const [first] = bad;
    if (first !== undefined && !this.#skip) {
      this.close();
      const sentence = first.message.replace(/\.?$/, '.');
      // Where many are bad, grey ones in their place would be no remedy.
      const isRare = bad.length <= mostBadImages(this.#memory.plan.images);
      const others =
        bad.length === 1 ? '' : ` So it is with ${bad.length} of the ${counted(count, 'image')} read with it.`;
      const advice = isRare ? ' Or set `skipBadImages` to use a grey image in its place.' : '';
      throw new UserError(`${sentence}${others}${advice}`);
    }
    this.#batch += 1;
    this.#held.add(slot);
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      this.#held.delete(slot);
      Atomics.store(control, this.#memory.doneCell(slot), 0);
      Atomics.store(control, this.#memory.openCell(slot), batch + plan.slots);
      Atomics.notify(control, this.#memory.openCell(slot));
    };
    return { start, count, data: this.#memory.slotPixels(slot, count), bad, release };
  }

  /** Ends the workers. Batches that are not released stay readable. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { plan, control } = this.#memory;
    Atomics.store(control, Cell.stop, 1);
    for (let slot = 0; slot < plan.slots; slot++) Atomics.notify(control, this.#memory.openCell(slot));
    for (const { worker, port } of this.#threads) {
      port.close();
      void worker.terminate();
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Reads the workers' messages, without a turn of the event loop. */
  #receive(): void {
    for (const { port } of this.#threads) {
      for (let received = receiveMessageOnPort(port); received !== undefined; received = receiveMessageOnPort(port)) {
        const { index, message }: LoaderDefect = received.message;
        if (index === undefined) this.#failure ??= message;
        else this.#bad.set(index, { index, message, path: this.#memory.path(index) });
      }
    }
  }

  #takeBad(start: number, count: number): BadImage[] {
    const taken: BadImage[] = [];
    for (let index = start; this.#bad.size > 0 && index < start + count; index++) {
      const bad = this.#bad.get(index);
      if (bad === undefined) continue;
      taken.push(bad);
      this.#bad.delete(index);
    }
    this.#badCount += taken.length;
    return taken;
  }

  #throwIfDead(): void {
    const { plan, control } = this.#memory;
    for (let worker = 0; worker < plan.workers; worker++) {
      if (Atomics.load(control, this.#memory.stateCell(worker)) === WorkerState.failed) this.#fail(worker);
    }
  }

  /** A thread that was ended from outside sends nothing: ask the kernel whether it still runs. */
  #lookForDead(): void {
    const { plan, control } = this.#memory;
    for (let worker = 0; worker < plan.workers; worker++) {
      const state = Atomics.load(control, this.#memory.stateCell(worker));
      const thread = Atomics.load(control, this.#memory.threadCell(worker));
      const gone = state === WorkerState.running && thread > 0 && !existsSync(`/proc/self/task/${thread}`);
      const late = state === WorkerState.starting && performance.now() - this.#started > START_MS;
      if (late) this.#failure ??= `it did not start within ${START_MS / 1000} s`;
      // It may have finished between the two loads of its state.
      if ((gone || late) && Atomics.load(control, this.#memory.stateCell(worker)) === state) this.#fail(worker);
    }
  }

  #fail(worker: number): never {
    const image = Atomics.load(this.#memory.control, this.#memory.imageCell(worker)) - 1;
    this.#receive();
    const where = image < 0 ? '' : ` while it read ${this.#memory.path(image)}`;
    const why = this.#failure?.replace(/\.?$/, '.') ?? 'memory may be short. Lower the batch size.';
    this.close();
    throw new UserError(`An image loader thread ended before its work was done${where}: ${why}`);
  }
}
