// Models of Hugging Face's hub: taken from its cache, or downloaded into it as huggingface_hub does.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { UserError } from '../../errors.js';
import { type DownloadOptions, download } from '../download.js';
import { makeDispatcher } from '../http.js';
import { progressLines } from '../progress.js';
import { CONFIG_FILE, INDEX_FILES, shardedText, WEIGHT_FILES } from '../weight-files.js';
import { type HubFolder, ModelCache } from './cache.js';
import { HubClient, type RemoteFile } from './client.js';
import { hubCacheFolder, offlineVariable } from './environment.js';
import { type HubModel, parseHubSpec, repoOf } from './spec.js';

export interface HubOptions extends DownloadOptions {
  /** Takes the line that says what is downloaded. */
  print?: ((line: string) => void) | undefined;
  env?: NodeJS.ProcessEnv | undefined;
}

/** Fetched where the model has them: sizes and preprocessing, for this program and for transformers. */
const SMALL_FILES = [CONFIG_FILE, 'preprocessor_config.json'];

/** The model of `hf:OWNER/NAME[@REVISION]` in the cache of the hub; undefined where its weights are not there. */
export function findInHubCache(spec: string, env: NodeJS.ProcessEnv = process.env): HubFolder | undefined {
  return new ModelCache(parseHubSpec(spec), env).find();
}

/**
 * The files of `hf:OWNER/NAME[@REVISION]`. What the cache of the hub has is taken without asking the hub: a branch stays at
 * the commit it had. Otherwise weights (model.safetensors, else pytorch_model.bin) and configs are downloaded into it.
 * @throws UserError that names the model, and what to do
 */
export async function fetchFromHub(spec: string, options: HubOptions = {}): Promise<HubFolder> {
  const { env = process.env } = options;
  const model = parseHubSpec(spec);
  const cache = new ModelCache(model, env);
  const found = cache.find();
  if (found !== undefined) return found;
  const ban = options.offline === true ? 'the run is offline' : offlineVariable(env);
  if (ban !== undefined) {
    const forbids = options.offline === true ? ban : `${ban} forbids to fetch it`;
    throw new UserError(
      `${shownModel(model)} is not in ${hubCacheFolder(env)}, and ${forbids}. Fetch it once with a network, or copy that folder from another machine.`,
    );
  }
  const dispatcher = options.dispatcher ?? makeDispatcher(options.idleMs ?? 60_000, env);
  try {
    return await new Fetch(cache, new HubClient(model, dispatcher, options, env), { ...options, dispatcher }).run();
  } finally {
    if (options.dispatcher === undefined) await dispatcher.destroy();
  }
}

function shownModel(model: HubModel): string {
  return `hf:${repoOf(model)}${model.revision === 'main' ? '' : `@${model.revision}`}`;
}

class Fetch {
  constructor(
    readonly cache: ModelCache,
    readonly client: HubClient,
    readonly options: HubOptions,
  ) {}

  async run(): Promise<HubFolder> {
    const { model } = this.cache;
    const weights = await this.#weights();
    const { commit } = weights;
    this.cache.makeFolders(commit);
    // The weights come last: a snapshot that has them is complete.
    for (const name of SMALL_FILES) {
      const small = await this.client.find(name, commit);
      if (small !== undefined) await this.#store(small, commit);
    }
    await this.#store(weights, commit, this.#progress(weights));
    await this.cache.setRef(model.revision, commit);
    const found = new ModelCache({ ...model, revision: commit }, this.options.env ?? process.env).find();
    if (found === undefined)
      throw new UserError(`${weights.name} has gone from ${this.cache.snapshot(commit)}. Try again.`);
    return found;
  }

  /** The small files are there before anybody has read a line. */
  #progress({ name, commit }: RemoteFile): DownloadOptions['onProgress'] {
    const { print, onProgress } = this.options;
    if (print === undefined) return onProgress;
    const what = `${name} of ${shownModel(this.cache.model)}`;
    return progressLines(print, what, this.cache.snapshot(commit), onProgress);
  }

  async #weights(): Promise<RemoteFile> {
    const { model } = this.cache;
    const { revision } = model;
    for (const name of WEIGHT_FILES) {
      const file = await this.client.find(name, revision);
      if (file !== undefined) return file;
    }
    for (const index of INDEX_FILES)
      if ((await this.client.find(index, revision)) !== undefined)
        throw new UserError(shardedText(shownModel(model), index));
    throw new UserError(
      `${shownModel(model)} has neither ${WEIGHT_FILES.join(' nor ')}. Name a model that transformers can load, or the URL of a file.`,
    );
  }

  async #store(file: RemoteFile, commit: string, onProgress?: DownloadOptions['onProgress']): Promise<void> {
    const { name, digest, url, size } = file;
    const blob = this.cache.blob(digest);
    const there = await stat(blob).catch(() => undefined);
    if (there !== undefined && there.size !== (size ?? there.size)) await rm(blob); // cut short by another program
    await download(url, blob, {
      ...this.options,
      ...checkOf(digest),
      onProgress,
      noteSource: false,
      allowHtml: true, // the digest decides
      authorization: this.client.authorization,
      lock: this.cache.lock(digest),
      elsewhere: 'set HF_HOME to a folder on another disk',
    });
    await this.cache.link(digest, commit, name);
  }
}

/** How a file is known by its name among the blobs. Mirrors may have names of another kind, which say nothing. */
function checkOf(digest: string): Pick<DownloadOptions, 'sha256' | 'check'> {
  if (/^[0-9a-f]{64}$/.test(digest)) return { sha256: digest };
  if (!/^[0-9a-f]{40}$/.test(digest)) return { sha256: undefined };
  const check = async (path: string) => {
    const found = await gitDigest(path);
    return found === digest ? undefined : `with git's SHA-1 ${found}, not ${digest}`;
  };
  return { sha256: undefined, check };
}

/** The SHA-1 by which git knows the content of a file. */
async function gitDigest(path: string): Promise<string> {
  const hash = createHash('sha1').update(`blob ${(await stat(path)).size}\0`);
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}
