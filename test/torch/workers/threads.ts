// What the programs of this folder share. worker.test.ts runs each in a process of its own; the program starts worker
// threads that run the same file again.
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { native } from '#blip/torch/native.js';

/** Runs `main` in the main thread, and `work` with the data of `startWorker` in the workers. */
export async function runThreads<Data>(main: () => Promise<void>, work: (data: Data) => void): Promise<void> {
  if (!isMainThread) return work(workerData);
  native().setThreads(1);
  await main();
}

/** Starts a worker; `url` is the program's import.meta.url. */
export function startWorker(url: string, data?: unknown): Worker {
  return new Worker(new URL(url), { workerData: data });
}

/** Sends the parent a message. */
export function send(message: unknown): void {
  parentPort?.postMessage(message);
}

/** The next message of a worker. */
export async function messageOf<T>(worker: Worker): Promise<T> {
  const [message]: T[] = await once(worker, 'message');
  return message as T;
}

/** The message of a worker, once it has ended. */
export async function resultOf<T>(worker: Worker): Promise<T> {
  const ended = once(worker, 'exit');
  const message = await messageOf<T>(worker);
  await ended;
  return message;
}
