// The HNSW index of a table: searches of very many images that do not compare all of them, and miss some.
import { codeOf } from '../../errors.js';
import type { Database, Run } from './database.js';
import type { Names } from './schema.js';

/** Neighbours of each image in the graph, and candidates while it is built: pgvector's own defaults. */
const LINKS = 16;
const CANDIDATES = 64;
/** Bytes of the graph for each image of 256 values: beyond `maintenance_work_mem` building becomes many times slower. */
const BYTES_PER_IMAGE = 1700;
/** As much is asked of a server that was told nothing else. */
const MOST_MEMORY = 2 ** 30;

/** A condition in SQL: that the index is there and complete. */
export const hasHnsw = ({ hnsw }: Names) =>
  `EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('${hnsw}') AND indisvalid)`;

/**
 * Builds the index, without holding up readers or writers, unless it is there or somebody builds it just now. Takes minutes
 * for a million images. Who ends meanwhile leaves an index that no search uses; the next one who builds replaces it.
 */
export function buildHnsw(database: Database, names: Names, images: number, signal?: AbortSignal): Promise<void> {
  return database.session(async (run) => {
    const lock = [`blip-retrieval ${names.hnsw}`];
    const [turn] = await run<{ taken: boolean }>('SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS taken', lock);
    if (!turn?.taken) return;
    try {
      const [now] = await run<{ done: boolean }>(`SELECT ${hasHnsw(names)} AS done`);
      if (now?.done) return;
      await giveMemory(run, images);
      await create(run, names).catch(async (error: unknown) => {
        // Workers share memory in /dev/shm, which is 64 MB in a container that was told nothing else.
        if (codeOf(error) !== '53100') throw error;
        await run('SET max_parallel_maintenance_workers = 0');
        await create(run, names);
      });
    } finally {
      await run('SELECT pg_advisory_unlock(hashtextextended($1, 0))', lock);
      await run('RESET maintenance_work_mem; RESET max_parallel_maintenance_workers');
    }
  }, signal);
}

async function create(run: Run, { table, hnsw, hnswAlone, vector }: Names): Promise<void> {
  // What a builder who was stopped has left.
  await run(`DROP INDEX IF EXISTS ${hnsw}`);
  await run(
    `CREATE INDEX CONCURRENTLY ${hnswAlone} ON ${table} USING hnsw (feature ${vector}vector_ip_ops) WITH (m = ${LINKS}, ef_construction = ${CANDIDATES})`,
  );
}

async function giveMemory(run: Run, images: number): Promise<void> {
  const wanted = Math.min(images * BYTES_PER_IMAGE, MOST_MEMORY);
  await run(
    `SELECT set_config('maintenance_work_mem', $1::text, false)
     WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < $2::bigint`,
    [`${Math.ceil(wanted / 1024)}kB`, wanted],
  );
}
