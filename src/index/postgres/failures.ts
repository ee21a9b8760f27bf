// What PostgreSQL, the network and TLS say when something fails, as sentences with a remedy. None has the password.
import { codeOf, messageOf, printable, UserError } from '../../errors.js';

/** There is a server, and no index in it. */
export class NoIndex extends UserError {}

const SILENT = [
  'ECONNREFUSED',
  'ENOENT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EACCES',
];
const CERTIFICATE = /^(?:SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|CERT_|ERR_TLS_CERT)/;

/** Whether the server itself refused a statement; its code is an SQLSTATE. */
export function isRefusal(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'severity' in error && /^[0-9A-Z]{5}$/.test(codeOf(error) ?? '');
}

/** A UserError where the failure is one that a user can do something about; else the error as it is. */
export function sentenceOf(error: unknown, name: string): unknown {
  if (error instanceof UserError || !(error instanceof Error)) return error;
  const said = says(error);
  const fail = (sentence: string) => new UserError(sentence, { cause: error });
  const code = codeOf(error) ?? '';
  if (isRefusal(error)) return fail(refusal(code, said, name));
  if (/password must be a string/.test(error.message))
    return fail(`PostgreSQL asks for a password, and ${name} has none. ${PASSWORD}`);
  if (/does not support SSL/i.test(error.message))
    return fail(`PostgreSQL at ${name} has no TLS, which \`sslmode\` in the address asks for. Set sslmode=disable.`);
  if (CERTIFICATE.test(code))
    return fail(
      `The certificate of ${name} is not trusted: ${said}. Name its authority: sslrootcert=FILE in the address.`,
    );
  if (SILENT.includes(code) || /timeout (?:exceeded|expired)/.test(error.message))
    return fail(`PostgreSQL does not answer at ${name} (${said}). Check that it runs, and the host and port.`);
  if (code === 'ECONNRESET' || code === 'EPIPE' || /connection (?:was )?terminated|not queryable/i.test(error.message))
    return fail(lost(said, name));
  return error;
}

/** What an error says, without the full stop that is put after it. */
export const says = (error: unknown) =>
  printable(messageOf(error) || (codeOf(error) ?? 'no reason'), 500).replace(/\.$/, '');

const PASSWORD = 'Set PGPASSWORD, write ~/.pgpass, or put it into the address.';

const lost = (said: string, name: string) =>
  `The connection to ${name} was lost (${said}). What was not committed is not there: try again.`;

function refusal(code: string, said: string, name: string): string {
  switch (code) {
    case '28P01':
    case '28000':
      return `PostgreSQL lets nobody in at ${name}: ${said}. Check the user and the password. ${PASSWORD}`;
    case '3D000':
      return `${name} cannot be opened: ${said}. Make the database (createdb), or check its name.`;
    case '42501':
      return `The user of ${name} may not do that: ${said}. Ask the owner of the tables or of the database for the right.`;
    case '42P01':
      return `The tables of ${name} have gone: ${said}. Make the index again with createIndex.`;
    case '25006':
      return `${name} can only be read: ${said}. Give the address of the primary server to change it.`;
    case '53100':
      return `The server of ${name} has no room left: ${said}. Make room there.`;
    case '53300':
      return `The server of ${name} has too many connections: ${said}. Close some, or raise max_connections.`;
    case '57014':
      return `The server of ${name} stopped a statement: ${said}. Raise its statement_timeout, or try again.`;
  }
  if (code.startsWith('08') || code.startsWith('57P')) return lost(said, name);
  return `PostgreSQL refused at ${name}: ${said} (SQLSTATE ${code}). Its log has more.`;
}
