// The thread of a retriever's model, seen from outside: jobs wait in line, are joined into batches, and get their outcomes.
import { SHARE_ENV, Worker } from 'node:worker_threads';
import { at, messageOf, UserError } from '../errors.js';
import {
  type Done,
  errorOf,
  type FromThread,
  type Job,
  type ModelFacts,
  type ModelSetup,
  type ToThread,
} from './protocol.js';

/** A job that has no outcome yet. */
interface Open {
  job: Job;
  /** The call that it is of, for the stack of an error. */
  origin: { stack?: string };
  /** Its data are on their way to the thread, or no longer wanted. */
  left(): void;
  resolve(done: Done): void;
  reject(error: unknown): void;
}

export interface RunOptions {
  origin: { stack?: string };
  signal?: AbortSignal | undefined;
  left?: (() => void) | undefined;
}

/** One batch is computed while the images of the next are decoded. */
const BATCHES_AT_ONCE = 2;
/** Texts that go through the encoder as one batch. */
const TEXTS_TOGETHER = 256;

export class ModelThread {
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #line: Open[] = [];
  /** Batches that are with the thread, in order; undefined in place of jobs that were aborted. */
  readonly #sent: (Open | undefined)[][] = [];
  #batchSize = 1;
  #indexedAtOnce = 1;
  #isPumping = false;
  #isClosing = false;
  /** Why nothing more is done. */
  #end: Error | undefined;
  #onStart: { ready(facts: ModelFacts): void; failed(error: Error): void } | undefined;

  private constructor(setup: ModelSetup) {
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), {
      name: 'blip-retrieval model',
      workerData: setup,
      // LibTorch reads variables that are set just before it is opened: not in a copy of the environment.
      env: SHARE_ENV,
      // A worker does not start with some flags of the main thread, such as --eval.
      execArgv: [],
    });
    this.#worker.on('message', (message: FromThread) => this.#receive(message));
    this.#worker.on('messageerror', (error) => this.#fail(error));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', (code) => {
        this.#fail(new Error(`exit code ${code}`));
        resolve();
      });
    });
  }

  /** Starts the thread and waits until the model is loaded. @throws what loading throws; the reason of `signal` */
  static async start(setup: ModelSetup, signal?: AbortSignal): Promise<{ thread: ModelThread; facts: ModelFacts }> {
    signal?.throwIfAborted();
    const thread = new ModelThread(setup);
    const stop = () => thread.#fail(signal?.reason);
    signal?.addEventListener('abort', stop, { once: true });
    try {
      const facts = await new Promise<ModelFacts>((ready, failed) => {
        thread.#onStart = { ready, failed };
      });
      thread.#keepAliveWhileBusy();
      return { thread, facts };
    } catch (error) {
      await thread.close();
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener('abort', stop);
      thread.#onStart = undefined;
    }
  }

  /** Images that are encoded together, and those of them that are encoded for an index; 1 until it is set. */
  setBatches(images: number, indexed: number): void {
    this.#batchSize = images;
    this.#indexedAtOnce = indexed;
  }

  /** What a job gives. @throws the job's own error; the reason of `signal`; why the thread has ended */
  run(job: Job, { origin, signal, left = () => {} }: RunOptions): Promise<Done> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      if (this.#end !== undefined) return reject(this.#end);
      const done = () => {
        signal?.removeEventListener('abort', abort);
        left();
      };
      const open: Open = {
        job,
        origin,
        left,
        resolve: (result) => {
          done();
          resolve(result);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      };
      const abort = () => {
        this.#forget(open);
        open.reject(signal?.reason);
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#line.push(open);
      this.#keepAliveWhileBusy();
      this.#pumpSoon();
    });
  }

  /** Rejects what is unfinished, with `reason` if given, and ends the thread. */
  async close(reason?: Error): Promise<void> {
    this.#fail(reason ?? new Error('closed'));
    this.#isClosing = true;
    await this.#worker.terminate();
    await this.#exited;
  }

  /** After the calls of this turn of the event loop, which become one batch. */
  #pumpSoon(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    setImmediate(() => {
      this.#isPumping = false;
      while (this.#end === undefined && this.#line.length > 0 && this.#sent.length < BATCHES_AT_ONCE) this.#send();
    });
  }

  #send(): void {
    const batch = this.#takeBatch();
    const jobs = batch.map(({ job }) => job);
    // Bytes move: they are copies, or were fetched.
    const moved = jobs.flatMap((job) => ('image' in job && 'bytes' in job.image ? [job.image.bytes.buffer] : []));
    this.#sent.push(batch);
    this.#worker.postMessage({ jobs } satisfies ToThread, moved);
    for (const open of batch) open.left();
  }

  /** The job that has waited longest, and those of its kind that fit beside it. */
  #takeBatch(): Open[] {
    const { kind } = at(this.#line, 0).job;
    const most = {
      texts: TEXTS_TOGETHER,
      scan: 1,
      encode: this.#indexedAtOnce,
      image: this.#batchSize,
      match: this.#batchSize,
    }[kind];
    const size = (job: Job) => (job.kind === 'texts' ? job.texts.length : 1);
    const batch: Open[] = [];
    let room = most;
    for (const open of [...this.#line]) {
      if (open.job.kind !== kind) continue;
      if (batch.length > 0 && size(open.job) > room) break;
      room -= size(open.job);
      batch.push(open);
    }
    const taken = new Set(batch);
    const rest = this.#line.filter((open) => !taken.has(open));
    this.#line.splice(0, this.#line.length, ...rest);
    return batch;
  }

  #receive(message: FromThread): void {
    if ('ready' in message) this.#onStart?.ready(message.ready);
    else if ('failed' in message) this.#onStart?.failed(errorOf(message.failed));
    else {
      const batch = this.#sent.shift() ?? [];
      for (const [i, open] of batch.entries()) {
        if (open === undefined) continue;
        const outcome = at(message.outcomes, i);
        if ('values' in outcome) open.resolve(outcome);
        else open.reject(errorOf(outcome.failure, open.origin));
      }
      this.#pumpSoon();
    }
    this.#keepAliveWhileBusy();
  }

  #forget(open: Open): void {
    const place = this.#line.indexOf(open);
    if (place >= 0) this.#line.splice(place, 1);
    for (const batch of this.#sent) {
      const i = batch.indexOf(open);
      if (i >= 0) batch[i] = undefined;
    }
    this.#keepAliveWhileBusy();
  }

  /** The end, for the reason that comes first. */
  #fail(reason: unknown): void {
    if (this.#end !== undefined) return;
    const end =
      reason instanceof UserError
        ? reason
        : new UserError(
            `The thread that runs the model ended before its work was done (${messageOf(reason).replace(/\.$/, '')}). Open the retriever again.`,
            { cause: reason },
          );
    this.#end = end;
    this.#onStart?.failed(end);
    for (const open of [...this.#sent.flat(), ...this.#line.splice(0)]) open?.reject(end);
    this.#sent.length = 0;
  }

  /** An idle retriever lets the program end; one with work holds it until the work is done. */
  #keepAliveWhileBusy(): void {
    // terminate() keeps the program until the thread has ended; an answer that is still on its way must not undo that.
    if (this.#isClosing) return;
    if (this.#line.length + this.#sent.length > 0) this.#worker.ref();
    else this.#worker.unref();
  }
}
