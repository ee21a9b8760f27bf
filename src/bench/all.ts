// `bench all`: every row of the table of goals that can be measured here, the others with the reason why not.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { UserError } from '../errors.js';
import { type AllOptions, type Finding, type RowId, rowIds, rows } from './all-rows.js';
import { begin, checkpointOf, say } from './harness.js';
import { readProcessor } from './processor.js';

/** A row as it was measured, or why it was not. */
export interface MeasuredRow {
  id: RowId;
  findings: Finding[];
  /** What it lacks here. */
  skipped?: string;
  /** Why it could not be measured after all; may name files of this machine. */
  failed?: string;
  /** The machine's load when it began. */
  load?: number;
}

export type AllReport = Awaited<ReturnType<typeof benchAll>>;

/** The commit of this checkout, `-dirty` where files were changed; undefined in an installed package. */
function commitHere(): string | undefined {
  try {
    const args = [
      '-C',
      fileURLToPath(new URL('../..', import.meta.url)),
      'describe',
      '--always',
      '--dirty',
      '--exclude',
      '*',
    ];
    return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}

/** The rows are measured one after the other. Whatever a row lacks is its reason, and the others go on. */
export async function benchAll(given: AllOptions, only: readonly RowId[] = rowIds) {
  const started = performance.now();
  const { machine, folder } = begin();
  const processor = readProcessor();
  const published = given.vit === 'base' && given.image_size === 384;
  let options = given;
  // Once, and before anything is measured: whatever it is, a local file in the reference's form comes of it.
  if (given.pretrained !== undefined) options = { ...given, pretrained: await checkpointOf(given, folder) };
  const measured: MeasuredRow[] = [];
  for (const id of rowIds.filter((id) => only.includes(id))) {
    const { work, lacks, measure } = rows[id];
    const reason = lacks?.({ options, processor, folder });
    if (reason !== undefined) {
      measured.push({ id, findings: [], skipped: reason });
      continue;
    }
    say(`-- ${id}: ${work}`);
    try {
      // Drawn once: the rows that compare two programs need it as a file.
      if (options.pretrained === undefined && NEEDS_FILE.has(id))
        options = { ...options, pretrained: await checkpointOf(options, folder) };
      const { load } = begin().machine;
      const findings = await measure({ options, processor, folder });
      const judged = published ? findings : findings.map((finding) => ({ ...finding, reached: undefined }));
      measured.push({ id, findings: judged, load });
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      measured.push({ id, findings: [], failed: error.message.replace(/\.$/, '') });
    }
  }
  const seconds = (performance.now() - started) / 1e3;
  return { machine, commit: commitHere(), options: given, published, rows: measured, seconds };
}

const NEEDS_FILE: ReadonlySet<RowId> = new Set<RowId>(['rerank', 'train', 'start', 'transformers']);
