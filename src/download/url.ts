// Addresses of downloads: which are accepted, and how they are shown.
import { UserError } from '../errors.js';

/** The URL as it may be printed: without user, password and query (which may be signed). */
export function shownUrl(url: string | URL): string {
  const parsed = typeof url === 'string' ? parseUrl(url) : url;
  return `${parsed.origin}${parsed.pathname}`;
}

/** @throws UserError for anything but an http or https URL */
export function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    const shown = url === undefined ? text.replace(/\/\/[^/@]*@/, '//') : `${url.protocol}//${url.host}${url.pathname}`;
    throw new UserError(`${shown} is not an address to download from. Give one that starts with https:// or http://.`);
  }
  return url;
}
