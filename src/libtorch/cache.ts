// The user cache: where downloads, unpacked LibTorch folders and a few recorded facts are kept.
import { isAbsolute, join, resolve } from 'node:path';
import { makeFolder } from '../disk/folder.js';
import { homeFolder } from '../disk/home.js';
import { messageOf, UserError } from '../errors.js';

/** The cache folder (it may not exist yet): $BLIP_CACHE, else $XDG_CACHE_HOME/blip-retrieval, else ~/.cache/blip-retrieval. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.BLIP_CACHE) return resolve(env.BLIP_CACHE);
  // The XDG base directory rules say that a relative value is to be ignored.
  const base = env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME) ? env.XDG_CACHE_HOME : undefined;
  return join(base ?? join(homeFolder(env), '.cache'), 'blip-retrieval');
}

/** The cache folder, or the folder `name` in it, made where it is absent. @throws UserError where that cannot be done */
export function madeCacheFolder(env: NodeJS.ProcessEnv, name = ''): string {
  const folder = join(cacheFolder(env), name);
  try {
    makeFolder(folder);
  } catch (error) {
    throw new UserError(`${messageOf(error)} BLIP_CACHE sets the cache folder.`, { cause: error });
  }
  return folder;
}
