// The report of `bench all`: a table for the terminal, and a section of docs/benchmarks.md.
import { counted } from '../logging/text.js';
import type { AllReport, MeasuredRow } from './all.js';
import { type AllOptions, type RowId, rowIds, rows } from './all-rows.js';
import { bytes, page } from './print.js';

const reachedText = (reached: boolean | undefined) => (reached === undefined ? '' : reached ? 'yes' : 'no');
const reasonOf = ({ skipped, failed }: MeasuredRow) => skipped ?? failed;

const METHOD =
  "COCO's test split has 5,000 images and 25,010 texts: costs of a sample's images, text tokens and matched tokens, times the counts (the work model of --dry_run), without reading JPEG files.";
const UNPUBLISHED = 'Goals are for the published base size at 384 pixels.';

export function printAll(report: AllReport, columns = Number.POSITIVE_INFINITY): string {
  const cells = report.rows.flatMap((row) => {
    const reason = reasonOf(row);
    if (reason !== undefined) return [[row.id, rows[row.id].work, 'skipped', '', '']];
    return row.findings.map(({ work, here, goal, reached }) => [row.id, work, here, goal, reachedText(reached)]);
  });
  const notes = report.rows.flatMap((row) => {
    const reason = reasonOf(row);
    if (reason !== undefined) return [`${row.id}: skipped, ${reason}.`];
    return row.findings.map(({ work, note }) => `${row.id}: ${work}: ${note}.`);
  });
  const { vit, image_size, threads, rounds } = report.options;
  const below = [
    ...notes,
    METHOD,
    ...(report.published ? [] : [UNPUBLISHED]),
    `All took ${report.seconds.toFixed(0)} s.`,
  ];
  return page(
    {
      what: `vit ${vit}, ${image_size} px, ${counted(threads, 'thread')}, ${counted(rounds, 'alternating round')}`,
      machine: report.machine,
      versions: report.commit === undefined ? {} : { commit: report.commit },
      tables: [[['row', 'work', 'here', 'goal', 'reached'], ...cells]],
      others: 'left',
      below,
    },
    columns,
  );
}

/** The name of the section: figures of another processor, size or number of threads stand beside these. */
export function sectionName(processor: string, { vit, image_size, threads }: AllOptions): string {
  const size = vit === 'base' && image_size === 384 ? '' : `, vit ${vit}, ${image_size} px`;
  return `${processor}, ${counted(threads, 'thread')}${size}`;
}

/** Without folders of this machine. */
function commandOf(options: AllOptions, measured: readonly MeasuredRow[]): string {
  const { reference, transformers_python, vit, image_size, threads, rounds, images, texts, k, train_batch, steps } =
    options;
  const all = measured.length === rowIds.length;
  return [
    'bench all',
    ...(all ? [] : [`--only ${measured.map(({ id }) => id).join(',')}`]),
    ...(reference === undefined ? [] : ['--reference BLIP --python PYTHON']),
    ...(transformers_python === undefined ? [] : ['--transformers_python PYTHON']),
    ...(vit === 'base' && image_size === 384 ? [] : [`--vit ${vit} --image_size ${image_size}`]),
    `--threads ${threads} --rounds ${rounds} --images ${images} --texts ${texts} --k ${k} --batch ${train_batch} --steps ${steps}`,
  ].join(' ');
}

const LINE = /^\| ([\w-]+) \|/;

/** The section for the file; rows that were not measured this time stay as they are in `before`. */
export function markdownOf(report: AllReport, before: string): string {
  const { machine, commit, options } = report;
  const lines = new Map<string, string[]>();
  for (const line of before.split('\n')) {
    const id = LINE.exec(line)?.[1];
    if (id !== undefined && rowIds.includes(id as RowId)) lines.set(id, [...(lines.get(id) ?? []), line]);
  }
  const written = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const by = commit === undefined ? machine.date : `${machine.date}, ${commit}`;
  for (const row of report.rows) {
    const { id, findings, skipped, failed, load } = row;
    if (findings.length > 0) {
      const when = load === undefined ? by : `${by}, load ${load.toFixed(1)}`;
      lines.set(
        id,
        findings.map((f) => written([id, f.work, f.here, f.goal, reachedText(f.reached), f.note, when])),
      );
    } else if (!lines.has(id)) {
      // What failed may name folders of this machine.
      const reason = skipped ?? (failed === undefined ? '' : 'it failed');
      lines.set(id, [written([id, rows[id].work, 'not measured', '', '', reason, by])]);
    }
  }
  const facts = [
    `${machine.cpu}, ${machine.vectors}, ${counted(machine.cores, 'core')}, ${bytes(machine.memory_bytes)}`,
    `Node ${machine.node}`,
    `${machine.date}${commit === undefined ? '' : `, commit ${commit}`}`,
    `load ${machine.load.toFixed(1)} when it began`,
  ];
  return [
    `### ${sectionName(machine.cpu, options)}`,
    '',
    `${facts.join('; ')}.`,
    '',
    `\`${commandOf(options, report.rows)}\``,
    '',
    '| row | work | here | goal | reached | how | measured |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...rowIds.flatMap((id) => lines.get(id) ?? []),
    '',
    `${METHOD}${report.published ? '' : ` ${UNPUBLISHED}`}`,
  ].join('\n');
}
