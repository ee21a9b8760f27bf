// Images to batches of pixels on worker threads, which need nothing of the main thread's event loop to go on.
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { UserError } from '../../errors.js';
import type { ImageTransform } from '../images/transform.js';
import { allocate, Cell, type LoaderDefect, LoaderMemory, WorkerState } from './memory.js';

export interface ImageLoaderOptions {
  /** Files, in the order in which they are wanted; a path may come more than once. */
  paths: readonly string[];
  /** Pixels of an edge of the square that each image becomes. */
  size: number;
  batchSize: number;
  /** Threads; as many as there are processors, at most 16, when left out. */
  workers?: number;
  /** Batches that may be ready or in hand at a time; 3 when left out. */
  slots?: number;
  /** Bad images become the mean colour and are listed, instead of ending the work. */
  skipBadImages?: boolean;
  /** Largest width times height of an image. */
  maxPixels?: number;
  /** The evaluation's when left out. A training sample's pixels depend on its place alone, not on threads or batches. */
  transform?: ImageTransform;
}

export interface BadImage {
  index: number;
  path: string;
  message: string;
}

/** Images [start, start + count) of the paths. */
export interface ImageBatch {
  start: number;
  count: number;
  /** (count, size, size, 3) uint8 in memory shared with the workers: valid until `release`. */
  data: Uint8Array;
  /** Images of this batch that could not be read and are the mean colour. */
  bad: BadImage[];
  /** Gives the memory back to the workers; needed for the loader to go on. */
  release(): void;
}

const MOST_WORKERS = 16;
/** How long to wait before looking whether the workers are alive. */
const LOOK_MS = 200;
/** How long a worker may take to load its modules. */
const START_MS = 60_000;

interface Thread {
  worker: Worker;
  port: MessagePort;
}

function checkPlaces({ seed, epoch, first, stride = 1 }: Extract<ImageTransform, { kind: 'train' }>): void {
  const places = { epoch, first, 'stride - 1': stride - 1 };
  for (const [name, value] of Object.entries(places)) {
    if (!Number.isSafeInteger(value) || value < 0)
      throw new RangeError(`ImageLoader: ${name} must be a whole number, 0 or more`);
  }
  if (!Number.isSafeInteger(seed)) throw new RangeError('ImageLoader: seed must be a whole number');
}

/**
 * Decodes and transforms images ahead of their use. Workers take the images in order from a plan that they are given at
 * the start, and write into a ring of slots; `next` waits for the slot of the next batch with Atomics, so both work
 * while this thread is inside native code.
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
    if (transform.kind === 'train') checkPlaces(transform);
    this.#skip = options.skipBadImages ?? false;
    const batches = Math.ceil(paths.length / batchSize);
    const plan = allocate(paths, {
      size,
      batchSize: Math.max(1, Math.min(batchSize, paths.length)),
      workers: Math.min(workers, paths.length),
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
        // Flags of the main thread, such as --eval, would keep a worker from starting.
        execArgv: [],
      });
      // The threads must not keep a program alive that is done, nor end it by an error of their own.
      thread.unref();
      thread.on('error', (error) => {
        this.#failure ??= error.message;
      });
      return { worker: thread, port: port1 };
    });
  }

  /** Images that could not be read so far. */
  get badCount(): number {
    return this.#badCount;
  }

  /**
   * The next batch, in order; null after the last. Blocks until it is ready.
   * @throws UserError for an image that cannot be read (unless skipBadImages), or when a worker has died; Error when
   * every slot is still held
   */
  next(): ImageBatch | null {
    if (this.#closed) throw new Error('ImageLoader: next() after close()');
    const { plan, control } = this.#memory;
    const batch = this.#batch;
    const start = batch * plan.batchSize;
    if (start >= plan.images) return null;
    const slot = batch % plan.slots;
    if (this.#held.has(slot)) throw new Error('ImageLoader: next() while every slot is held; release() a batch first');
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
      const { message } = first;
      throw new UserError(`${message.replace(/\.$/, '')}, or go on without it: --skip_bad_images.`);
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

  /** Ends the workers. Batches in hand stay readable. */
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

  /** Takes what the workers have sent; works without a turn of the event loop. */
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

  /** A thread that was ended from outside says nothing: the kernel is asked whether it still runs. */
  #lookForDead(): void {
    const { plan, control } = this.#memory;
    for (let worker = 0; worker < plan.workers; worker++) {
      const state = Atomics.load(control, this.#memory.stateCell(worker));
      const thread = Atomics.load(control, this.#memory.threadCell(worker));
      const gone = state === WorkerState.running && thread > 0 && !existsSync(`/proc/self/task/${thread}`);
      const late = state === WorkerState.starting && performance.now() - this.#started > START_MS;
      if (late) this.#failure ??= `it did not start within ${START_MS / 1000} s`;
      // It may have ended in good order between the two looks.
      if ((gone || late) && Atomics.load(control, this.#memory.stateCell(worker)) === state) this.#fail(worker);
    }
  }

  #fail(worker: number): never {
    const image = Atomics.load(this.#memory.control, this.#memory.imageCell(worker)) - 1;
    this.#receive();
    const where = image < 0 ? '' : ` while it read ${this.#memory.path(image)}`;
    const why = this.#failure === undefined ? 'memory may be short, try a smaller batch' : this.#failure;
    this.close();
    throw new UserError(`An image loader thread ended before its work was done${where}: ${why.replace(/\.$/, '')}.`);
  }
}
