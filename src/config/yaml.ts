// Reads YAML: a mapping with the line of every key; tags, bombs and duplicate keys are refused.
import { closeSync, openSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Event } from 'js-yaml';
import { at, codeOf, isRecord, kindOf, messageOf, printable, UserError } from '../errors.js';
import { configHint } from './find.js';

const require = createRequire(import.meta.url);
/** Loaded when the first YAML is read: programs that read none start 10 to 50 ms sooner. */
export const yaml = (): typeof import('js-yaml') => require('js-yaml');

/** A config is a page of text; a larger file was given by mistake. */
const MAX_BYTES = 1 << 20;
const MAX_DEPTH = 16;
const MAX_ALIASES = 32;

/** A YAML mapping and the places of its keys. */
export interface YamlMapping {
  values: Record<string, unknown>;
  /** Line, from 1, of each key: `k_test`, `med_config.hidden_size`. */
  lines: ReadonlyMap<string, number>;
}

/**
 * Reads a YAML file whose top level is a mapping.
 * @throws UserError when it is absent, too large, not UTF-8, not YAML, or not a mapping, or has tags, duplicate keys or
 *   more than 32 aliases
 */
export function readYamlFile(path: string): YamlMapping {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readAtMost(path, MAX_BYTES));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`The config ${path} cannot be read: ${readProblem(error, path)}.`, { cause: error });
  }
  return parseMapping(text, path);
}

/** The YAML mapping in `text`; `where` names it in errors. */
export function parseMapping(text: string, where: string): YamlMapping {
  const { events, value } = parse(text, where);
  if (!isRecord(value)) {
    throw new UserError(`Expected lines of \`key: value\` in ${where} but received ${kindOf(value)}.`);
  }
  // A mapping without a prototype: a key called __proto__ or constructor is then a key like any other.
  const values: Record<string, unknown> = Object.assign(Object.create(null), value);
  return { values, lines: keyLines(text, events) };
}

/** One YAML value, as `--set key=value` gives it. @throws UserError as parseMapping does */
export function parseValue(text: string, where: string): unknown {
  return parse(text, where).value;
}

/** A text as `--set key=` takes it: in quotes where YAML would read something else (a comment, a number, a list). */
export function yamlText(text: string): string {
  try {
    if (parseValue(text, 'a text') === text) return text;
  } catch {
    // no YAML
  }
  return JSON.stringify(text);
}

function parse(text: string, where: string): { events: Event[]; value: unknown } {
  const { constructFromEvents, CORE_SCHEMA, parseEvents, YAMLException } = yaml();
  try {
    const events = parseEvents(text, { maxDepth: MAX_DEPTH });
    for (const event of events) {
      if (!('tagStart' in event) || event.tagStart < 0) continue;
      const tag = printable(text.slice(event.tagStart, event.tagEnd));
      throw new UserError(
        `The YAML tag ${tag} in ${where}, line ${lineFinder(text)(event.tagStart)}, is not allowed. Remove it.`,
      );
    }
    const documents = constructFromEvents(events, { source: text, schema: CORE_SCHEMA, maxAliases: MAX_ALIASES });
    if (documents.length > 1)
      throw new UserError(`Expected one YAML document in ${where} but received ${documents.length}.`);
    const [value] = documents;
    if (holdsItself(value)) throw new UserError(`A value in ${where} holds an alias of itself. Remove the alias.`);
    return { events, value };
  } catch (error) {
    if (error instanceof UserError) throw error;
    const mark = error instanceof YAMLException ? error.mark : undefined;
    const reason = error instanceof YAMLException ? error.reason : messageOf(error);
    const place = mark ? `, line ${mark.line + 1}, column ${mark.column + 1}` : '';
    const key = mark && /duplicate/.test(reason) ? /^[^\s:]{1,60}/.exec(text.slice(mark.position))?.[0] : undefined;
    throw new UserError(`${where} is not valid YAML${place}: ${reason}${key ? ` ${key}` : ''}.`, { cause: error });
  }
}

/** Whether a list or mapping lies inside itself; `open` are those around it. Values are at most 16 deep otherwise. */
function holdsItself(value: unknown, open: readonly unknown[] = []): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return open.includes(value) || Object.values(value).some((inner) => holdsItself(inner, [...open, value]));
}

/** The line of every key of the top mapping and of the mappings below it. */
function keyLines(text: string, events: readonly Event[]): Map<string, number> {
  const lines = new Map<string, number>();
  const { EVENT_ID, getScalarValue } = yaml();
  const lineAt = lineFinder(text);
  // One entry per open collection: its path and, of a mapping, the key whose value comes next.
  const open: { path: string; mapping: boolean; key: string | undefined }[] = [];
  for (const event of events) {
    if (event.type === EVENT_ID.POP) {
      open.pop();
      continue;
    }
    const parent = open.at(-1);
    let path = parent?.path ?? '';
    if (parent?.mapping) {
      if (parent.key === undefined) {
        parent.key = event.type === EVENT_ID.SCALAR ? getScalarValue(text, event) : '?';
        const name = path === '' ? parent.key : `${path}.${parent.key}`;
        if (event.type === EVENT_ID.SCALAR && !lines.has(name)) lines.set(name, lineAt(event.valueStart));
        if (event.type === EVENT_ID.SCALAR || event.type === EVENT_ID.ALIAS) continue;
      } else {
        path = path === '' ? parent.key : `${path}.${parent.key}`;
        parent.key = undefined;
      }
    }
    if (event.type === EVENT_ID.MAPPING) open.push({ path, mapping: true, key: undefined });
    else if (event.type === EVENT_ID.SEQUENCE) open.push({ path: `${path}[]`, mapping: false, key: undefined });
    else if (event.type === EVENT_ID.DOCUMENT) open.push({ path: '', mapping: false, key: undefined });
  }
  return lines;
}

/** The line, from 1, of a position; line starts are found once, since a hostile file has a hundred thousand keys. */
function lineFinder(text: string): (position: number) => number {
  const starts = Array.from(text.matchAll(/\r\n|\r|\n/g), (match) => match.index + match[0].length);
  return (position) => {
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (at(starts, middle) <= position) low = middle + 1;
      else high = middle;
    }
    return low + 1;
  };
}

/** Reads at most `limit` bytes, so that neither a checkpoint given by mistake nor /dev/zero fills the memory. */
function readAtMost(path: string, limit: number): Buffer {
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(limit + 1);
    let length = 0;
    while (length < buffer.length) {
      const read = readSync(file, buffer, length, buffer.length - length, null);
      if (read === 0) return buffer.subarray(0, length);
      length += read;
    }
    throw new UserError(
      `${path} is larger than 1 MiB, so it is not a config. Name a YAML file such as configs/retrieval_coco.yaml.`,
    );
  } finally {
    closeSync(file);
  }
}

function readProblem(error: unknown, path: string): string {
  switch (codeOf(error)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return `it does not exist. Check the path${configHint(path)}`;
    case 'EISDIR':
      return 'it is a folder. Name a YAML file';
    case 'EACCES':
    case 'EPERM':
      return 'permission is denied. Change its permissions';
    case 'ERR_ENCODING_INVALID_ENCODED_DATA':
      return 'it is not UTF-8 text. Save it as UTF-8';
    default:
      return messageOf(error);
  }
}
