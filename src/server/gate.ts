// Who may ask: the token, and the Host and Origin that a browser sends. Against DNS rebinding and other sites' scripts.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { HttpError } from './http-error.js';

export interface Gate {
  /** @throws HttpError 403 for a request that another site's page may have sent */
  checkOrigin(request: IncomingMessage): void;
  /** @throws HttpError 401 without the token */
  checkToken(request: IncomingMessage): void;
}

export function makeGate(host: string, token: string | undefined, allowedHosts: readonly string[]): Gate {
  const isOwnMachine = isLoopback(host);
  const allowed = new Set(allowedHosts.map((name) => name.toLowerCase()));
  const known = (name: string) => isLoopback(name) || allowed.has(name);
  const expected = token === undefined ? undefined : digest(`Bearer ${token}`);
  return {
    checkOrigin({ headers }) {
      const name = hostName(headers.host);
      // A name of somebody else's that leads to 127.0.0.1 comes with that name.
      if ((isOwnMachine || allowed.size > 0) && (name === undefined || !known(name)))
        throw new HttpError(
          403,
          'This server does not answer under that name. Ask for it as localhost, or start it with --allowed_host NAME.',
        );
      const { origin } = headers;
      if (origin === undefined) return;
      const from = originHost(origin);
      const isSame = from !== undefined && (from.host === headers.host?.toLowerCase() || allowed.has(from.name));
      if (!isSame) throw new HttpError(403, 'Pages of other sites may not use this server.');
    },
    checkToken({ headers }) {
      if (expected === undefined) return;
      // Digests have one length, so the comparison tells nothing of the token's.
      if (timingSafeEqual(digest(headers.authorization ?? ''), expected)) return;
      throw new HttpError(401, 'This server wants its token. Send it as `Authorization: Bearer TOKEN`.', {
        'WWW-Authenticate': 'Bearer',
      });
    },
  };
}

const digest = (text: string) => createHash('sha256').update(text).digest();

/** Whether a name or address is this machine, and no other can reach it. */
export function isLoopback(name: string): boolean {
  if (name === 'localhost' || name.endsWith('.localhost') || name === '::1') return true;
  return isIP(name) === 4 && name.startsWith('127.');
}

/** The name in a Host header, without port and brackets. */
function hostName(header: string | undefined): string | undefined {
  const [, bracketed, name] = /^(?:\[([^\]]+)\]|([^:]+))(?::\d{1,5})?$/.exec(header ?? '') ?? [];
  return (bracketed ?? name)?.toLowerCase();
}

function originHost(origin: string): { host: string; name: string } | undefined {
  if (!URL.canParse(origin)) return undefined;
  const { host, hostname } = new URL(origin);
  return { host, name: hostname.replace(/^\[|\]$/g, '') };
}
