// Checkpoints by path, URL, `hf:` or short name, and PyTorch's cache of those that were downloaded.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeFolder } from '../disk/folder.js';
import { homeFolder } from '../disk/home.js';
import { messageOf, UserError } from '../errors.js';
import { download, isDownloaded, OtherSource } from './download.js';
import { fetchFromHub, findInHubCache, type HubOptions } from './hub/fetch-from-hub.js';
import { progressLines } from './progress.js';
import { nearestModel, publishedModel } from './published-models.js';
import { sourceOf, sourceText } from './source-note.js';
import { parseUrl, shownUrl } from './url.js';
import { configIn, indexIn, shardedText, WEIGHT_FILES, weightsIn } from './weight-files.js';

/** The folder where PyTorch (and timm, for the reference) keeps downloaded checkpoints; it may not exist yet. */
export function hubFolder(env: NodeJS.ProcessEnv = process.env): string {
  const home = env.TORCH_HOME || join(env.XDG_CACHE_HOME || '~/.cache', 'torch');
  return join(home.replace(/^~(?=\/|$)/, homeFolder(env)), 'hub', 'checkpoints');
}

/** Where PyTorch caches what is at `url`: the same file serves both programs. */
export function hubCheckpointPath(url: string, env: NodeJS.ProcessEnv = process.env): string {
  const { pathname } = parseUrl(url);
  if (pathname.endsWith('/'))
    throw new UserError(`${shownUrl(url)} names no file. Give the address of the checkpoint itself.`);
  return join(hubFolder(env), basename(pathname));
}

export interface PretrainedOptions extends HubOptions {
  /** Takes lines that say what is downloaded, and where a file goes whose name in the cache is taken. */
  print?: ((line: string) => void) | undefined;
}

/** A checkpoint on this machine. */
export interface PretrainedFile {
  path: string;
  /** The config.json of the folder that it is from, if that has one. */
  config?: string;
  /** For messages: where it is from. */
  source: string;
}

/**
 * The local file of a checkpoint that is named by
 * - the path of a file, or of a folder with model.safetensors or pytorch_model.bin;
 * - an http(s) URL, which is downloaded into PyTorch's cache unless it is there;
 * - `hf:OWNER/NAME[@REVISION]`, which is taken from the cache of Hugging Face's hub, or downloaded into it;
 * - a short name (published-models.ts), where no file has that name.
 * @throws UserError
 */
export async function fetchPretrained(source: string, options: PretrainedOptions = {}): Promise<PretrainedFile> {
  if (/^https?:\/\//i.test(source)) return { path: await fetchUrl(source, options), source: shownUrl(source) };
  if (/^hf:/i.test(source)) return fromHub(source, options);
  const published = publishedModel(source);
  const found = await stat(source).catch(() => undefined);
  if (found?.isDirectory() === true) {
    const inside = weightsIn(source);
    if (inside !== undefined) return local(inside.weights, source, options);
    const index = indexIn(source);
    if (index !== undefined) throw new UserError(shardedText(`the folder ${source}`, index));
    if (published === undefined) {
      throw new UserError(
        `${source} is a folder without ${WEIGHT_FILES.join(' or ')}. Name a file, or a folder that has one of them.`,
      );
    }
  } else if (found !== undefined || published === undefined) return local(source, source, options);
  return fetchPretrained(published.source, options);
}

async function local(path: string, source: string, { sha256 }: PretrainedOptions): Promise<PretrainedFile> {
  if (!(await isDownloaded(path, sha256))) {
    throw new UserError(`The checkpoint ${path} does not exist. ${remedyFor(path)}`);
  }
  // Beside a file of another name, config.json may be anything.
  const isOfTransformers = WEIGHT_FILES.some((name) => name === basename(path));
  return { path, source, ...(isOfTransformers && configIn(dirname(path))) };
}

async function fromHub(source: string, options: PretrainedOptions): Promise<PretrainedFile> {
  const { weights, config, commit } = await fetchFromHub(source, options);
  await isDownloaded(weights, options.sha256);
  return { path: weights, source: `${source.replace(/@.*/, '')}@${commit}`, ...(config !== undefined && { config }) };
}

function remedyFor(path: string): string {
  const hub = /^[\w-]+\/[\w.-]+$/.test(path) ? ` For a model of Hugging Face, write hf:${path}.` : '';
  const near = /[/\\]/.test(path) ? undefined : nearestModel(path);
  if (near !== undefined) return `Did you mean ${near}? The command \`models\` lists the names.`;
  return `Give the path of a file, a URL, hf:OWNER/NAME, or a name that the command \`models\` lists.${hub}`;
}

/**
 * Downloads `url` into PyTorch's cache unless it is there. As in PyTorch, digits like those in `name-5c106cde.pth` are taken
 * for the start of its SHA-256. PyTorch knows a file by its name alone; here a file of the same name from another address
 * goes into a folder of its own.
 */
async function fetchUrl(url: string, options: PretrainedOptions): Promise<string> {
  refuseHubPage(url);
  const path = hubCheckpointPath(url, options.env);
  const sha256 = options.sha256 ?? /-([0-9a-f]{8,64})\./.exec(basename(path))?.[1];
  makeHubFolder(dirname(path));
  const { print, onProgress } = options;
  const fetchTo = async (destination: string) => {
    const report = print === undefined ? onProgress : progressLines(print, shownUrl(url), destination, onProgress);
    await download(url, destination, { ...options, sha256, noteSource: true, onProgress: report });
    return destination;
  };
  try {
    return await fetchTo(path);
  } catch (error) {
    if (!(error instanceof OtherSource)) throw error;
    const other = ownPath(url, path);
    print?.(`${path} is from ${error.source}; that of ${shownUrl(url)} is ${other}.`);
    return fetchTo(other);
  }
}

/** Where what is at `url` goes when its name in the cache, `path`, is taken. */
function ownPath(url: string, path: string): string {
  const source = sourceText(parseUrl(url));
  return join(dirname(path), createHash('sha256').update(source).digest('hex').slice(0, 12), basename(path));
}

/** The local path of a URL or `hf:` source, where it is here already. */
export async function cachedPretrained(
  source: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<string | undefined> {
  if (/^hf:/i.test(source)) return findInHubCache(source, env)?.weights;
  const path = hubCheckpointPath(source, env);
  const from = await sourceOf(path);
  const isOther = from !== undefined && from !== sourceText(parseUrl(source));
  return [isOther ? undefined : path, ownPath(source, path)].find((name) => name !== undefined && existsSync(name));
}

/** A model's page of Hugging Face is no file of weights. */
function refuseHubPage(url: string): void {
  const { host, pathname } = parseUrl(url);
  if (host !== 'huggingface.co' && host !== 'hf.co') return;
  const [, repo, revision = ''] = /^\/([^/]+\/[^/]+?)(?:\/(?:tree|blob)\/([^/]+).*|\/)?$/.exec(pathname) ?? [];
  if (repo === undefined) return;
  const at = revision === '' || revision === 'main' ? '' : `@${decodeURIComponent(revision)}`;
  throw new UserError(`${shownUrl(url)} is a page, not a file. For that model of Hugging Face, write hf:${repo}${at}.`);
}

function makeHubFolder(folder: string): void {
  try {
    makeFolder(folder);
  } catch (error) {
    throw new UserError(`${messageOf(error)} TORCH_HOME sets the folder of checkpoints.`, { cause: error });
  }
}
