// Connections to PostgreSQL: transactions, calls that end with their signal, and sentences for what goes wrong.
import { Socket } from 'node:net';
import type { Pool, PoolClient } from 'pg';
import { codeOf, UserError } from '../../errors.js';
import type { PostgresAddress } from './address.js';
import { sentenceOf } from './failures.js';

/** Runs a statement. @returns its rows */
export type Run = <Row extends Record<string, unknown>>(sql: string, values?: readonly unknown[]) => Promise<Row[]>;

const CONNECTIONS = 4;
const CONNECT_MS = 15_000;
/** Of writers that met: PostgreSQL undid one, which has only to be run again. */
const MET = ['40P01', '40001'];
const ATTEMPTS = 5;

export class Database {
  readonly name: string;
  readonly #pool: Pool;
  readonly #sockets: ReadonlySet<Socket>;
  #closing: Promise<void> | undefined;

  private constructor(name: string, pool: Pool, sockets: ReadonlySet<Socket>) {
    this.name = name;
    this.#pool = pool;
    this.#sockets = sockets;
    // A connection that is lost while nothing is asked of it: whoever asks next hears of it.
    pool.on('error', () => undefined);
    pool.on('connect', (client) => client.on('error', () => undefined));
  }

  /** Connects at the first call. @throws UserError where the package pg is missing */
  static async at({ name, connection }: PostgresAddress): Promise<Database> {
    const { default: pg } = await import('pg').catch((error: unknown) => {
      if (codeOf(error) !== 'ERR_MODULE_NOT_FOUND') throw error;
      throw new UserError(
        'An index in PostgreSQL needs the package pg, which is not installed. Install it: npm install pg.',
      );
    });
    const sockets = new Set<Socket>();
    const stream = () => {
      const socket = new Socket();
      sockets.add(socket);
      return socket.once('close', () => sockets.delete(socket));
    };
    const pool = new pg.Pool({
      stream,
      connectionString: connection,
      application_name: 'blip-retrieval',
      max: CONNECTIONS,
      connectionTimeoutMillis: CONNECT_MS,
      keepAlive: true,
      allowExitOnIdle: true,
    });
    return new Database(name, pool, sockets);
  }

  /** One statement, or several without values. */
  query: Run = (sql, values) => this.session((run) => run(sql, values));

  /** A transaction: whole or absent. `read` may change nothing, whatever its statements say. */
  async transaction<T>(mode: 'read' | 'write', work: (run: Run) => Promise<T>, signal?: AbortSignal): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.session(async (run) => {
          await run(mode === 'read' ? 'BEGIN TRANSACTION READ ONLY' : 'BEGIN');
          const result = await work(run);
          await run('COMMIT');
          return result;
        }, signal);
      } catch (error) {
        const cause = error instanceof UserError ? error.cause : error;
        if (!MET.includes(codeOf(cause) ?? '') || attempt === ATTEMPTS) throw error;
      }
    }
  }

  /** A connection for `work`, which ends with the signal: its statement is cancelled. */
  async session<T>(work: (run: Run) => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    let client: PoolClient | undefined;
    let isSound = false;
    try {
      client = await this.#pool.connect();
      const run = runOf(client);
      const result = await (signal === undefined ? work(run) : this.#until(signal, run, work));
      isSound = true;
      return result;
    } catch (error) {
      signal?.throwIfAborted();
      throw sentenceOf(error, this.name);
    } finally {
      // After a failure the connection may be within a transaction: closing it undoes that.
      client?.release(!isSound);
    }
  }

  close(): Promise<void> {
    // pg leaves a connection open that it has no password for, and with it the process, until the server ends it.
    this.#closing ??= this.#pool.end().then(() => {
      for (const socket of this.#sockets) socket.destroy();
    });
    return this.#closing;
  }

  async #until<T>(signal: AbortSignal, run: Run, work: (run: Run) => Promise<T>): Promise<T> {
    const [backend] = await run<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    signal.throwIfAborted();
    let abort: () => void = () => undefined;
    const aborted = new Promise<never>((_, reject) => {
      abort = () => {
        // The server goes on with a statement whose connection has gone; it has to be told.
        this.query('SELECT pg_cancel_backend($1)', [backend?.pid]).catch(() => undefined);
        reject(signal.reason);
      };
    });
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await Promise.race([work(run), aborted]);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }
}

const runOf =
  (client: PoolClient): Run =>
  async <Row extends Record<string, unknown>>(sql: string, values?: readonly unknown[]) => {
    const { rows } = await client.query<Row>(sql, values === undefined ? undefined : [...values]);
    return rows;
  };
