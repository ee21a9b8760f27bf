// How `bench` starts the two programs that it measures, with the same number of threads.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeVocabulary } from '../data/vocabulary.js';
import { UserError } from '../errors.js';
import { type DrawSetting, type Hello, type ModelSetting, Timed } from './protocol.js';
import { Worker } from './worker.js';

export const title = { own: 'this program', reference: 'salesforce/BLIP' };

export interface Started {
  worker: Worker;
  hello: Hello;
}

export interface ReferenceSetting {
  /** Folder of a checkout of salesforce/BLIP. */
  reference: string;
  /** Python that has its packages. */
  python: string;
  threads: number;
  /** Where the vocabulary is written for it. */
  folder: string;
}

/**
 * OpenMP reads the first, MKL the second: neither program may take more cores than the other. Both also wait alike:
 * threads that spin lose most of their time on a machine that runs anything else.
 */
const threadsOnly = (threads: number) => ({
  OMP_NUM_THREADS: String(threads),
  MKL_NUM_THREADS: String(threads),
  GOMP_SPINCOUNT: process.env.GOMP_SPINCOUNT ?? '1000',
});

/** Starts this program's side in a process of its own; for the CPU without LibTorch's CUDA libraries. */
export function startOwn(threads: number, device: ModelSetting['device'] = 'cpu'): Promise<Started> {
  const script = fileURLToPath(new URL('./own-runner.js', import.meta.url));
  return Worker.start(title.own, process.execPath, [script, device], threadsOnly(threads));
}

/**
 * Starts the reference's side: bench/reference_runner.py on an untouched checkout.
 * @throws UserError when the folder is no checkout, or Python or one of its packages is missing
 */
export async function startReference({ reference, python, threads, folder }: ReferenceSetting): Promise<Started> {
  if (!existsSync(reference) || !statSync(reference).isDirectory()) {
    throw new UserError(
      `The folder ${reference} of --reference does not exist: clone https://github.com/salesforce/BLIP and give its folder.`,
    );
  }
  const vocabulary = join(folder, 'vocab.txt');
  writeVocabulary(vocabulary);
  const script = fileURLToPath(new URL('../../bench/reference_runner.py', import.meta.url));
  return await Worker.start(`${title.reference} (${python})`, python, [script, reference, vocabulary], {
    ...threadsOnly(threads),
    PYTHONUNBUFFERED: '1',
    PYTHONDONTWRITEBYTECODE: '1',
  });
}

/** Writes a checkpoint drawn by a rule, in a process of its own: a measured one's peak memory stays what its work needs. */
export async function drawCheckpoint(setting: DrawSetting): Promise<void> {
  const { worker } = await startOwn(1);
  try {
    const { checkpoint, vit, image_size, queue_size } = setting;
    await worker.ask({ op: 'draw', checkpoint, vit, image_size, queue_size }, Timed);
  } finally {
    await worker.close();
  }
}
