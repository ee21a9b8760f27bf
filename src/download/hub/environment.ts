// The variables of the environment that Hugging Face's libraries obey: where the hub and its cache are, and the token.
// Source: huggingface_hub, constants.py and utils/_auth.py.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { homeFolder } from '../../disk/home.js';
import { UserError } from '../../errors.js';
import { parseUrl } from '../url.js';

type Env = NodeJS.ProcessEnv;

/** `~` at the start and `$NAME` as Python's expanduser and expandvars have it. */
function expanded(path: string, env: Env): string {
  return path
    .replace(/\$(?:(\w+)|\{([^}]*)\})/g, (text, name?: string, braced?: string) => env[name ?? braced ?? ''] ?? text)
    .replace(/^~(?=\/|$)/, homeFolder(env));
}

function hfHome(env: Env): string {
  return expanded(env.HF_HOME || join(env.XDG_CACHE_HOME || '~/.cache', 'huggingface'), env);
}

/** The folder of `models--OWNER--NAME`. It may not exist yet. */
export function hubCacheFolder(env: Env): string {
  return expanded(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(hfHome(env), 'hub'), env);
}

/** The address of the hub, without a slash at its end. @throws UserError where HF_ENDPOINT is none */
export function hubEndpoint(env: Env): string {
  const given = env.HF_ENDPOINT?.trim();
  if (!given) return 'https://huggingface.co';
  try {
    return parseUrl(given).href.replace(/\/+$/, '');
  } catch (error) {
    throw new UserError('HF_ENDPOINT is no address. Set it to https://HOST, or unset it.', { cause: error });
  }
}

const isYes = (value: string | undefined) => /^(?:1|on|yes|true)$/i.test(value ?? '');

/** The variable that forbids to ask the hub. */
export function offlineVariable(env: Env): string | undefined {
  const name = env.HF_HUB_OFFLINE ? 'HF_HUB_OFFLINE' : 'TRANSFORMERS_OFFLINE';
  return isYes(env[name]) ? name : undefined;
}

export interface HubToken {
  value: string;
  /** The variable or the file that it is from. */
  from: string;
}

/** The user's token. @throws UserError where it is none */
export function hubToken(env: Env): HubToken | undefined {
  if (isYes(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
  const token = findToken(env);
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token.value)) {
    throw new UserError(`${token.from} holds characters that no token has. Copy the token anew, or remove it.`);
  }
  return token;
}

function findToken(env: Env): HubToken | undefined {
  for (const from of ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN']) {
    const value = env[from]?.trim();
    if (value) return { value, from };
  }
  const from = expanded(env.HF_TOKEN_PATH || join(hfHome(env), 'token'), env);
  try {
    const value = readFileSync(from, 'utf8').trim();
    return value === '' ? undefined : { value, from };
  } catch {
    return undefined;
  }
}
