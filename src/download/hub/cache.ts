// The cache that huggingface_hub keeps, so that what Python has fetched serves here, and the other way round:
//   models--OWNER--NAME/blobs/DIGEST           contents, named by the hub's ETag
//   models--OWNER--NAME/snapshots/COMMIT/FILE  links to them
//   models--OWNER--NAME/refs/REVISION          the commit of a branch or tag
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { cannotWrite } from '../../disk/cannot-write.js';
import { makeFolder } from '../../disk/folder.js';
import { codeOf, messageOf, UserError } from '../../errors.js';
import { indexIn, shardedText, weightsIn } from '../weight-files.js';
import { hubCacheFolder } from './environment.js';
import { type HubModel, repoOf } from './spec.js';

/** A model in the cache. */
export interface HubFolder {
  /** The snapshot. */
  folder: string;
  weights: string;
  config?: string;
  commit: string;
}

const COMMIT = /^[0-9a-f]{40}$/;

/** Whether a path lies in such a cache, whichever it is: a file written there would change the contents that others link to. */
export function isInHubCache(path: string): boolean {
  const absolute = resolve(path);
  const real = existsSync(absolute) ? realpathSync(absolute) : absolute;
  return [absolute, real].some((name) => /\/models--[^/]+\/(?:snapshots|blobs|refs)(?:\/|$)/.test(name));
}

/** The folder of one model. */
export class ModelCache {
  readonly #folder: string;
  readonly #locks: string;

  constructor(
    readonly model: HubModel,
    env: NodeJS.ProcessEnv,
  ) {
    const cache = hubCacheFolder(env);
    const name = `models--${model.owner}--${model.name}`;
    this.#folder = join(cache, name);
    this.#locks = join(cache, '.locks', name);
  }

  /** The model's files, where its weights are there. @throws UserError where they are there in several files */
  find(): HubFolder | undefined {
    const { revision } = this.model;
    const commit = COMMIT.test(revision) ? revision : this.#ref(revision);
    if (commit === undefined) return undefined;
    const folder = this.snapshot(commit);
    const found = weightsIn(folder);
    if (found !== undefined) return { folder, commit, ...found };
    const index = indexIn(folder);
    if (index !== undefined) throw new UserError(shardedText(`hf:${repoOf(this.model)}`, index));
    return undefined;
  }

  snapshot(commit: string): string {
    return join(this.#folder, 'snapshots', commit);
  }

  blob(digest: string): string {
    return join(this.#folder, 'blobs', digest);
  }

  /**
   * Where this program locks a blob. huggingface_hub locks DIGEST.lock by flock(2), which Node lacks, and leaves that file;
   * both may so fetch one file at a time, which is harmless: each renames a whole one.
   */
  lock(digest: string): string {
    return join(this.#locks, `${digest}.blip-retrieval.lock`);
  }

  #ref(revision: string): string | undefined {
    try {
      const commit = readFileSync(join(this.#folder, 'refs', revision), 'utf8').trim();
      return COMMIT.test(commit) ? commit : undefined;
    } catch {
      return undefined;
    }
  }

  /** Makes the folders that files of `commit` need. @throws UserError that names the variables */
  makeFolders(commit: string): void {
    try {
      for (const folder of [this.snapshot(commit), dirname(this.blob('')), this.#locks]) makeFolder(folder);
    } catch (error) {
      const remedy = 'HF_HOME or HF_HUB_CACHE sets the folder of the hub.';
      throw new UserError(`${messageOf(error)} ${remedy}`, { cause: error });
    }
  }

  /** Gives the blob `digest` the name `file` in the snapshot of `commit`. */
  async link(digest: string, commit: string, file: string): Promise<void> {
    const path = join(this.snapshot(commit), file);
    await this.#replace(path, (temporary) =>
      symlink(relative(dirname(path), this.blob(digest)), temporary).catch(async (error: unknown) => {
        if (!['EPERM', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP'].includes(codeOf(error) ?? '')) throw error;
        await rename(this.blob(digest), temporary); // a file system without links: as huggingface_hub, the file itself
      }),
    );
  }

  /** Notes that `revision`, where it is a name, means `commit`. */
  async setRef(revision: string, commit: string): Promise<void> {
    if (COMMIT.test(revision)) return;
    const path = join(this.#folder, 'refs', revision);
    makeFolder(dirname(path));
    await this.#replace(path, (temporary) => writeFile(temporary, commit));
  }

  async #replace(path: string, make: (temporary: string) => Promise<unknown>): Promise<void> {
    const temporary = `${path}.${randomUUID().slice(0, 8)}.tmp`;
    try {
      await make(temporary);
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw cannotWrite(path, error);
    }
  }
}
