// The model for an index: the one that the index was made with, unless the command line names another.
import { resolve } from 'node:path';
import { lookAt } from '../disk/folder.js';
import { UserError } from '../errors.js';
import { manifestStamp, readManifest } from '../index/manifest.js';
import { NoIndex } from '../index/postgres/failures.js';
import { demandAddon, demandLibtorch } from '../libtorch/first-use.js';
import { Retriever } from '../retriever/retriever.js';
import { asIndexCommands, type IndexFlags } from './index-flags.js';

/** What an index says of itself without being opened. */
export interface RecordedFacts {
  readonly source: string;
  readonly include?: readonly string[] | undefined;
  readonly keepsTokens: boolean;
}

const isAddress = (name: string) => /^postgres(?:ql)?:\/\//i.test(name);

/** @throws UserError where there is no index, or it cannot be read */
export async function recordedFacts(name: string): Promise<RecordedFacts> {
  if (!isAddress(name)) return (await readManifest(resolve(name))).facts;
  const { openPostgresStore } = await import('../index/postgres/store.js');
  const store = await openPostgresStore(name);
  await store.close();
  return store.facts;
}

/** Of the index that `index` is to make or to bring up to date; undefined where there is none. */
export async function recordedFactsIfThere(name: string): Promise<RecordedFacts | undefined> {
  if (!isAddress(name)) return (await manifestStamp(resolve(name))) === undefined ? undefined : recordedFacts(name);
  return recordedFacts(name).catch((error: unknown) => {
    if (error instanceof NoIndex) return undefined;
    throw error;
  });
}

type ModelFlags = Pick<IndexFlags, 'checkpoint' | 'device' | 'precision' | 'threads'> & {
  batchSize?: number | undefined;
};

/** @param recorded the source that the index names; undefined for a new one. @throws UserError */
export async function openModel(flags: ModelFlags, recorded: string | undefined): Promise<Retriever> {
  demandAddon(demandLibtorch()); // what is missing is the first line
  const { checkpoint, device, precision, threads, batchSize } = flags;
  const source = checkpoint ?? recorded ?? 'coco-base';
  // A path is remembered by the index, and must mean the same elsewhere.
  const isPath = !/^[a-z]+:/i.test(source) && lookAt(source) !== undefined;
  try {
    return await Retriever.open(isPath ? resolve(source) : source, { device, precision, threads, batchSize });
  } catch (error) {
    if (checkpoint !== undefined || recorded === undefined || !(error instanceof UserError)) throw error;
    const remedy = 'Where it lies elsewhere now, name it with --checkpoint.';
    throw new UserError(`The model of the index cannot be opened: ${error.message} ${remedy}`, { cause: error });
  }
}

/** Runs `work`; its sentences come out with the names of flags and commands. */
export async function inCommands<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(asIndexCommands(error.message), { exitCode: error.exitCode, cause: error });
  }
}
