// Checkpoints by path or URL, and PyTorch's cache of those that were downloaded.
import { createHash } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { makeFolder } from '../disk/folder.js';
import { homeFolder } from '../disk/home.js';
import { messageOf, UserError } from '../errors.js';
import { type DownloadOptions, download, isDownloaded, OtherSource } from './download.js';
import { parseUrl, shownUrl } from './http.js';
import { sourceText } from './source-note.js';

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

export interface PretrainedOptions extends DownloadOptions {
  /** Takes the line that says where a file goes whose name in the cache is taken. */
  print?: (line: string) => void;
}

/**
 * The local path of a checkpoint that is named by path or URL; a URL is downloaded into PyTorch's cache unless it is there.
 * As in PyTorch, digits like those in `name-5c106cde.pth` are taken for the start of its SHA-256. PyTorch knows a file by
 * its name alone; here a file of the same name from another address goes into a folder of its own.
 */
export async function fetchPretrained(urlOrPath: string, options: PretrainedOptions = {}): Promise<string> {
  if (/^https?:\/\//i.test(urlOrPath)) {
    const path = hubCheckpointPath(urlOrPath);
    const sha256 = options.sha256 ?? /-([0-9a-f]{8,64})\./.exec(basename(path))?.[1];
    makeHubFolder(dirname(path));
    const wanted = { ...options, sha256, noteSource: true };
    try {
      await download(urlOrPath, path, wanted);
      return path;
    } catch (error) {
      if (!(error instanceof OtherSource)) throw error;
      const own = createHash('sha256')
        .update(sourceText(parseUrl(urlOrPath)))
        .digest('hex')
        .slice(0, 12);
      const other = join(dirname(path), own, basename(path));
      options.print?.(`${path} is from ${error.source}; that of ${shownUrl(urlOrPath)} is ${other}.`);
      await download(urlOrPath, other, wanted);
      return other;
    }
  }
  if (await isDownloaded(urlOrPath, options.sha256)) return urlOrPath;
  throw new UserError(`The checkpoint ${urlOrPath} does not exist. Give the path of a file, or a URL.`);
}

function makeHubFolder(folder: string): void {
  try {
    makeFolder(folder);
  } catch (error) {
    throw new UserError(`${messageOf(error)} TORCH_HOME sets the folder of checkpoints.`, { cause: error });
  }
}
