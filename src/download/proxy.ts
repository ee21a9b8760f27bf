// The proxy for an address, by the environment's variables as curl reads them.
import { BlockList, isIP } from 'node:net';
import { printable, UserError } from '../errors.js';

export interface ProxyServer {
  scheme: 'http' | 'https' | 'socks5' | 'socks5h';
  /** Without brackets. */
  host: string;
  port: number;
  user: string | undefined;
  password: string;
  /** The variable that names it. */
  variable: string;
}

/** Curl takes http_proxy in lower case only: HTTP_PROXY can be a header that a web server passes on. */
const VARIABLES = {
  'http:': ['http_proxy', 'all_proxy', 'ALL_PROXY'],
  'https:': ['https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'],
};

/** As curl: 443 to a proxy that speaks TLS, else 1080. */
const DEFAULT_PORT = 1080;

/** The proxy for `url`, undefined where none is to be used. @throws UserError that names the variable with a useless value */
export function proxyFor(url: URL, env: NodeJS.ProcessEnv): ProxyServer | undefined {
  const names = url.protocol === 'https:' ? VARIABLES['https:'] : VARIABLES['http:'];
  const variable = names.find((name) => Boolean(env[name]?.trim()));
  if (variable === undefined || isExcluded(url, env.no_proxy || env.NO_PROXY || '')) return undefined;
  return parseProxy(env[variable]?.trim() ?? '', variable);
}

/** `proxy.example.com:8080 of https_proxy` */
export function shownProxy({ host, port, variable }: ProxyServer): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port} of ${variable}`;
}

const FORM = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(?:(.*)@)?(\[[\da-f:.%]+\]|[^\s:@/?#[\]]+)(?::(\d{1,5}))?(?:[/?#].*)?$/i;

function parseProxy(value: string, variable: string): ProxyServer {
  const shown = printable(value.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/i, '$1…@'));
  const [match, given = 'http', credentials, host = '', digits] = FORM.exec(value) ?? [];
  const scheme = given.toLowerCase();
  if (match !== undefined && /^socks/.test(scheme) && scheme !== 'socks5' && scheme !== 'socks5h') {
    throw new UserError(
      `${variable} is ${shown}, and SOCKS proxies of version 4 are not supported. Use socks5h://, or an HTTP proxy.`,
    );
  }
  if (match !== undefined && !isScheme(scheme)) {
    throw new UserError(
      `${variable} is ${shown}, and proxies of the kind ${scheme} are not supported. Use http://, https://, socks5:// or socks5h://.`,
    );
  }
  const port = digits === undefined ? (scheme === 'https' ? 443 : DEFAULT_PORT) : Number(digits);
  if (match === undefined || !isScheme(scheme) || port < 1 || port > 65535 || !URL.canParse(`http://${host}:${port}`)) {
    throw new UserError(
      `${variable} is ${shown}, which is no address of a proxy. Set it to http://HOST:PORT, or unset it.`,
    );
  }
  const [user, ...password] = credentials === undefined ? [] : credentials.split(':');
  const plain = (text: string) => (/%(?![\da-f]{2})/i.test(text) ? text : decoded(text));
  return {
    scheme,
    host: host.replace(/^\[|\]$/g, ''),
    port,
    user: user === undefined ? undefined : plain(user),
    password: plain(password.join(':')),
    variable,
  };
}

function isScheme(scheme: string): scheme is ProxyServer['scheme'] {
  return ['http', 'https', 'socks5', 'socks5h'].includes(scheme);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * Whether NO_PROXY, a list with commas or blanks, has the host: a name with all names below it, an address, a block of
 * addresses (10.0.0.0/8), any of these with a port, or `*`.
 */
function isExcluded(url: URL, list: string): boolean {
  const host = url.hostname
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '')
    .toLowerCase();
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .some((entry) => {
      const [, name = '', wanted] = /^(\[[^\]]*\](?:\/\d+)?|[^:]*|.*:.*:.*?)(?::(\d+))?$/.exec(entry) ?? [];
      return name !== '' && (wanted === undefined || wanted === port) && matches(host, name);
    });
}

function matches(host: string, entry: string): boolean {
  if (entry === '*') return true;
  const [, address = '', bits] = /^\[?([^\]/]*)\]?(?:\/(\d+))?$/.exec(entry) ?? [];
  const family = isIP(address);
  if (isIP(host) !== 0) {
    if (family !== isIP(host)) return false;
    const most = family === 4 ? 32 : 128;
    if (bits !== undefined && Number(bits) > most) return false;
    const block = new BlockList();
    const kind = family === 4 ? 'ipv4' : 'ipv6';
    block.addSubnet(address, bits === undefined ? most : Number(bits), kind);
    return block.check(host, kind);
  }
  const name = address.replace(/^\.+|\.+$/g, '');
  return bits === undefined && name !== '' && (host === name || host.endsWith(`.${name}`));
}
