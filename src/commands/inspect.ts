// `inspect FILE`: what is in a checkpoint, without running anything in it; as a table, or as JSON for programs.
import { formatBytes } from '../disk/space.js';
import { printable } from '../errors.js';
import type { ProgressStream } from '../logging/progress-bar.js';
import { table } from '../logging/table.js';
import { fitted, roomOf, titled } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import {
  type Checkpoint,
  type FlatCheckpoint,
  flattenCheckpoint,
  openCheckpoint,
  type PickleScalar,
  tensorSums,
  verifyStorages,
  wayOut,
} from '../torch/checkpoint/index.js';
import { numelOf } from '../torch/dtype.js';
import { summary } from './inspect-summary.js';

export interface InspectOptions {
  json?: boolean;
  /** Every tensor and value, instead of a summary. */
  all?: boolean;
  /** Every tensor with its sum: reads every byte, after comparing the checksums. */
  stats?: boolean;
}

/**
 * Prints what the checkpoint is, in at most twelve lines, or with `all` the tensors (path, shape, dtype and with `stats` the sum in float64) and the plain values of the checkpoint
 * `file`; the metadata of a safetensors file are values, too. JSON: {"format", "tensors": {path: {"shape", "dtype", "sum"}},
 * "values": {path: value}} and, of objects that were not made, "opaque": {path: class}, where numbers that JSON lacks are
 * the texts "NaN", "Infinity", "-Infinity", and a sum that cannot be given is null.
 */
export async function inspectCommand(
  file: string,
  options: InspectOptions = {},
  out: ProgressStream = process.stdout,
): Promise<void> {
  const checkpoint = openCheckpoint(file);
  const flat = flattenCheckpoint(checkpoint);
  for (const [name, text] of checkpoint.metadata ?? []) flat.values.set(`__metadata__/${name}`, text);
  if (options.stats === true) await verifyStorages(checkpoint);
  const sums = options.stats === true ? tensorSums(checkpoint, flat.tensors) : undefined;
  if (options.json === true) printJson(checkpoint, flat, sums, out);
  // A module that was saved whole has no tensors to summarise: the table says the way out.
  else if (options.all === true || sums !== undefined || flat.tensors.size === 0)
    printTable(checkpoint, flat, sums, out);
  else printSummary(checkpoint, flat, out);
}

/** Columns of a title of the summary. */
const TITLE = 12;

/** A name from the file in full, without control characters that would move the terminal's cursor. */
const shown = (text: string) => printable(text, Number.POSITIVE_INFINITY);

type Sums = ReadonlyMap<string, number | undefined>;

function printJson(
  { format }: Checkpoint,
  { tensors, values, opaque }: FlatCheckpoint,
  sums: Sums | undefined,
  out: ProgressStream,
): void {
  const tensorRows = [...tensors].map(([path, { shape, dtype }]) => {
    const sum = sums === undefined ? '' : `, "sum": ${jsonScalar(sums.get(path) ?? null)}`;
    return `${JSON.stringify(path)}: {"shape": [${shape.join(', ')}], "dtype": "${dtype}"${sum}}`;
  });
  const valueRows = [...values].map(([path, value]) => `${JSON.stringify(path)}: ${jsonScalar(value)}`);
  const opaqueRows = [...opaque].map(([path, { name }]) => `${JSON.stringify(path)}: ${JSON.stringify(name)}`);
  const objects = opaque.size === 0 ? '' : `,\n "opaque": ${jsonObject(opaqueRows)}`;
  out.write(
    `{\n "format": "${format}",\n "tensors": ${jsonObject(tensorRows)},\n "values": ${jsonObject(valueRows)}${objects}\n}\n`,
  );
}

function jsonObject(rows: string[]): string {
  return rows.length === 0 ? '{}' : `{\n  ${rows.join(',\n  ')}\n }`;
}

/** Integers beyond 2^53 keep all their digits, as Python writes and reads them. */
function jsonScalar(value: PickleScalar): string {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number' && !Number.isFinite(value)) return JSON.stringify(String(value));
  return JSON.stringify(value);
}

function printSummary(checkpoint: Checkpoint, flat: FlatCheckpoint, out: ProgressStream): void {
  const lines = summary(checkpoint, flat, shownValue, shown);
  const head = `${shown(checkpoint.path)}: ${checkpoint.format} format, ${formatBytes(checkpoint.bytes)}`;
  out.write(`${fitted(head, out)}\n`);
  for (const [title, text] of lines) out.write(`${titled(title, text, TITLE, out)}\n`);
  out.write(`${fitted('--all lists every tensor and value.', out)}\n`);
}

function printTable(
  checkpoint: Checkpoint,
  { tensors, values, opaque }: FlatCheckpoint,
  sums: Sums | undefined,
  out: ProgressStream,
): void {
  const header = ['tensor', 'shape', 'dtype', ...(sums === undefined ? [] : ['sum'])];
  const rows = [...tensors].map(([path, { shape, dtype }]) => [
    shown(path),
    `[${shape.join(', ')}]`,
    dtype,
    ...(sums === undefined ? [] : [String(sums.get(path) ?? '-')]),
  ]);
  const elements = [...tensors.values()].reduce((sum, { shape }) => sum + numelOf(shape), 0);
  out.write(`${shown(checkpoint.path)}: ${checkpoint.format} format, ${counted(checkpoint.bytes, 'byte')}\n\n`);
  if (rows.length > 0) out.write(`${table([header, ...rows], 'left', roomOf(out))}\n`);
  out.write(`${counted(rows.length, 'tensor')}, ${counted(elements, 'element')}\n`);
  const lines = [
    ...[...values].map(([path, value]) => `${shown(path)} = ${shownValue(value)}\n`),
    ...[...opaque].map(([path, { name }]) => `${shown(path || 'the whole file')} = opaque: ${shown(name)}\n`),
  ];
  if (lines.length > 0) out.write(`\n${lines.join('')}`);
  const module = tensors.size === 0 ? [...opaque.values()].find(({ isModule }) => isModule) : undefined;
  if (module !== undefined) out.write(`\n${shown(module.name)} is a whole module. ${wayOut(true)}\n`);
}

/** Text quoted and cut: a value may be as long as the file. */
function shownValue(value: PickleScalar): string {
  if (typeof value !== 'string') return String(value);
  const long = value.length > 200;
  return shown(JSON.stringify(long ? value.slice(0, 200) : value)) + (long ? '…' : '');
}
