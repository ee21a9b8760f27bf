// Checkpoints by path, URL, `hf:` or short name, and PyTorch's cache of those that were downloaded.
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeFolder } from '../disk/folder.js';
import { homeFolder } from '../disk/home.js';
import { messageOf, UserError } from '../errors.js';
import { download, isDownloaded, OtherSource } from './download.js';
import { fetchFromHub, type HubOptions } from './hub/fetch-from-hub.js';
import { publishedModel } from './published-models.js';
import { sourceText } from './source-note.js';
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
  return `Give the path of a file, a URL, hf:OWNER/NAME, or a name that the command \`models\` lists.${hub}`;
}

/**
 * Downloads `url` into PyTorch's cache unless it is there. As in PyTorch, digits like those in `name-5c106cde.pth` are taken
 * for the start of its SHA-256. PyTorch knows a file by its name alone; here a file of the same name from another address
 * goes into a folder of its own.
 */
async function fetchUrl(url: string, options: PretrainedOptions): Promise<string> {
  const path = hubCheckpointPath(url, options.env);
  const sha256 = options.sha256 ?? /-([0-9a-f]{8,64})\./.exec(basename(path))?.[1];
  makeHubFolder(dirname(path));
  const wanted = { ...options, sha256, noteSource: true };
  try {
    await download(url, path, wanted);
    return path;
  } catch (error) {
    if (!(error instanceof OtherSource)) throw error;
    const own = createHash('sha256')
      .update(sourceText(parseUrl(url)))
      .digest('hex')
      .slice(0, 12);
    const other = join(dirname(path), own, basename(path));
    options.print?.(`${path} is from ${error.source}; that of ${shownUrl(url)} is ${other}.`);
    await download(url, other, wanted);
    return other;
  }
}

function makeHubFolder(folder: string): void {
  try {
    makeFolder(folder);
  } catch (error) {
    throw new UserError(`${messageOf(error)} TORCH_HOME sets the folder of checkpoints.`, { cause: error });
  }
}
