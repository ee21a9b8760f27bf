// A retrieval config from a YAML file and --set overrides: every mistake in one error, then camelCase settings.
import { isRecord, kindOf, printable, UserError } from '../errors.js';
import { type CamelCased, camelCased } from './camel-case.js';
import { findConfig } from './find.js';
import { misspelledName, nearestName } from './nearest.js';
import { type Fields, fieldTables, type TableValues, type Values } from './schema.js';
import { parseValue, readYamlFile } from './yaml.js';

/** Settings that only training has. */
export type TrainingConfig = CamelCased<TableValues<'trainingFields'>>;

/** Fields of the text encoder that the config overrides; what is absent keeps the published value. */
export type MedConfig = CamelCased<Partial<TableValues<'medFields'>>>;

type GivenConfig = CamelCased<
  TableValues<'evaluationFields'> &
    Partial<TableValues<'sizeFields'> & TableValues<'queueFields'> & TableValues<'optionalFields'>>
>;

/** A checked config: the keys of schema.ts in camelCase. What the `pretrained` file tells may be left out: the sizes. */
export interface RetrievalConfig extends GivenConfig {
  medConfig: MedConfig;
  /** Complete training settings, or undefined when the file leaves some out. */
  training: TrainingConfig | undefined;
  /** The mapping as the file and the overrides give it: what config.yaml holds. */
  raw: Readonly<Record<string, unknown>>;
  /** What is worth a line, and no mistake: keys that mean nothing here. */
  notes: readonly string[];
}

/** A value that a setting must not have: `expected` describes what it must be, for the key as the file names it. */
export interface Misfit {
  key: string;
  expected: string;
  received: unknown;
}

export interface LoadConfigOptions {
  /** Missing training keys are then mistakes too. */
  training?: boolean;
  /** Keys that are not known are then mistakes, whatever they look like. */
  strictConfig?: boolean;
}

/** The sentence, without its place, for a value that does not fit. */
export function misfitText({ key, expected, received }: Misfit): string {
  return `expected ${expected} for ${key} but received ${kindOf(received)}`;
}

/**
 * Reads and checks a config. The model's own limits are not known here: model/architecture.ts has loadConfig, with them.
 * @param name YAML file, or the short name of one that comes with the package
 * @param overrides `key=value` or `med_config.key=value`, later ones win; values are YAML
 * @param misfits further checks, of the settings that are right by themselves
 * @throws UserError that lists every misspelled key, missing key and wrong value with its line and the nearest known key
 */
export function readConfig(
  name: string,
  overrides: readonly string[],
  options: LoadConfigOptions,
  misfits: (config: Partial<RetrievalConfig>) => readonly Misfit[],
): RetrievalConfig {
  const { configFields, evaluationFields, sizeFields, trainingFields, queueFields, optionalFields } = fieldTables();
  const { medFields, fixedMedFields } = fieldTables();
  const path = findConfig(name);
  const { values, lines } = readYamlFile(path);
  const places = new Map([...lines].map(([key, line]) => [key, `line ${line}`]));
  const problems: Problem[] = [];
  for (const override of overrides) problems.push(...applyOverride(values, places, override));

  // A known key without a value counts as absent, as its author means it.
  const given = Object.entries(values).filter(
    ([key, value]) => value !== undefined && (value !== null || !Object.hasOwn(configFields, key)),
  );
  const raw = Object.fromEntries(given);
  const unknown = new UnknownKeys(places, new Set(lines.keys()), options.strictConfig === true, problems);
  // Without `pretrained` the weights are random, as the reference's `if config['pretrained']` has it.
  const checked = { pretrained: '', ...checkFields(raw, configFields, '', places, problems, unknown) };
  const sizes = { ...sizeFields, ...(options.training ? queueFields : {}) };
  const required = {
    ...evaluationFields,
    ...(checked.pretrained === '' ? sizes : {}),
    ...(options.training ? trainingFields : {}),
  };
  for (const [key, schema] of Object.entries(required)) {
    if (key !== 'pretrained' && !Object.hasOwn(raw, key) && !problems.some((problem) => problem.meant === key)) {
      const place = places.get(key);
      const text = `${key}, ${schema.description}`;
      problems.push(
        place === undefined ? { place: 'missing', text } : { place, text: `there is no value for ${text}` },
      );
    }
  }
  const med = isRecord(raw.med_config) ? raw.med_config : {};
  const knownMed = checkFields(med, { ...medFields, ...fixedMedFields }, 'med_config.', places, problems, unknown);

  const settings = only(checked, { ...evaluationFields, ...sizeFields, ...queueFields, ...optionalFields });
  const medConfig = camelCased(only(knownMed, medFields));
  for (const misfit of misfits({ ...camelCased(settings), medConfig })) {
    const { key } = misfit;
    const place = places.get(key) ?? places.get(key.replace(/\..*/, '')) ?? 'config';
    problems.push({ place, text: misfitText(misfit) });
  }
  if (problems.length > 0 || !isComplete(settings, evaluationFields)) throw configError(path, problems);

  const training = only(checked, trainingFields);
  return {
    ...camelCased(settings),
    medConfig,
    training: isComplete(training, trainingFields) ? camelCased(training) : undefined,
    raw,
    notes: [...(path === name ? [] : [`The config ${name} is ${path}.`]), ...unknown.notes(path)],
  };
}

/** What a mapping in a checkpoint says of `med_config`, as far as it is known and right. */
export function medConfigOf(values: Readonly<Record<string, unknown>>): MedConfig {
  const right = Object.entries(fieldTables().medFields).filter(
    ([key, schema]) => schema.safeParse(values[key]).success,
  );
  return camelCased(only(values, Object.fromEntries(right)));
}

/** A file that is not a config would fill the screen. */
const MAX_LISTED = 40;
const MAX_NOTED = 12;

interface Problem {
  /** `line 4`, `--set k_test=x`, `missing`. */
  place: string;
  text: string;
  /** The known key that a mistyped one seems to mean: it is not reported as missing as well. */
  meant?: string;
}

function applyOverride(values: Record<string, unknown>, places: Map<string, string>, override: string): Problem[] {
  const [, name, text] = /^\s*([^=\s]+)\s*=(.*)$/s.exec(override) ?? [];
  const place = `--set ${printable(override)}`;
  if (name === undefined || text === undefined) return [{ place, text: 'expected key=value' }];
  const [head = '', ...rest] = name.split('.');
  let target = values;
  let key = head;
  if (head === 'med_config' && rest.length > 0) {
    // A copy, since the file's mapping may be shared by an alias.
    const med = Object.assign(Object.create(null), isRecord(values.med_config) ? values.med_config : {});
    values.med_config = med;
    target = med;
    key = rest.join('.');
  } else if (rest.length > 0) {
    return [{ place, text: `unknown key ${printable(name)}; only med_config has fields below it` }];
  }
  target[key] = parseValue(text, place);
  places.set(name, place);
  return [];
}

/** Keys of a config that are not known: misspelled ones are problems, those of other programs a note. */
class UnknownKeys {
  readonly #others: string[] = [];
  #count = 0;

  constructor(
    readonly places: ReadonlyMap<string, string>,
    /** The keys that the file itself has: an override of one that it lacks is a mistake of the command line. */
    readonly inFile: ReadonlySet<string>,
    readonly strict: boolean,
    readonly problems: Problem[],
  ) {}

  add(prefix: string, key: string, fields: Fields, place: string): void {
    const names = Object.keys(fields);
    const wrong = this.strict || !this.inFile.has(prefix + key);
    const few = this.problems.length < MAX_LISTED;
    const near = wrong && few ? nearestName(key, names) : misspelledName(key, names);
    if (wrong || near !== undefined) {
      const hint = near === undefined ? '' : `; the nearest known key is ${prefix}${near}`;
      const text = `unknown key ${prefix}${printable(key)}${hint}`;
      this.problems.push(near === undefined ? { place, text } : { place, text, meant: prefix + near });
      return;
    }
    this.#count += 1;
    if (this.#count <= MAX_NOTED) this.#others.push(`${prefix}${printable(key)} (${place})`);
  }

  /** One line, if there are any. */
  notes(path: string): string[] {
    if (this.#count === 0) return [];
    const more = this.#count > MAX_NOTED ? ` and ${this.#count - MAX_NOTED} more` : '';
    const [keys, they] = this.#count === 1 ? ['a key', 'It has'] : ['keys', 'They have'];
    return [
      `The config ${path} has ${keys} that this program does not know: ${this.#others.join(', ')}${more}. ` +
        `${they} no effect here; \`strictConfig\` makes that an error.`,
    ];
  }
}

/** The values that are right; the others become problems. */
function checkFields<F extends Fields>(
  values: Record<string, unknown>,
  fields: F,
  prefix: string,
  places: ReadonlyMap<string, string>,
  problems: Problem[],
  unknown: UnknownKeys,
): Partial<Values<F>> {
  const right: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(values)) {
    const place = places.get(prefix + key) ?? places.get(prefix.slice(0, -1)) ?? 'config';
    const schema = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (schema === undefined) {
      unknown.add(prefix, key, fields, place);
      continue;
    }
    const { success, data } = schema.safeParse(value);
    if (success) right[key] = data;
    else {
      const expected = schema.description ?? 'another value';
      problems.push({ place, text: misfitText({ key: prefix + key, expected, received: value }) });
    }
  }
  return right as Partial<Values<F>>;
}

/** Those of `values` that are values of `fields`. */
function only<F extends Fields>(values: object, fields: F): Partial<Values<F>> {
  return Object.fromEntries(Object.entries(values).filter(([key]) => key in fields)) as Partial<Values<F>>;
}

function isComplete<F extends Fields>(values: Partial<Values<F>>, fields: F): values is Values<F> {
  return Object.keys(fields).every((key) => Object.hasOwn(values, key));
}

function configError(path: string, problems: readonly Problem[]): UserError {
  const lines = problems.slice(0, MAX_LISTED).map(({ place, text }) => `${place}: ${text}`);
  if (problems.length > MAX_LISTED) lines.push(`and ${problems.length - MAX_LISTED} more`);
  // Overrides are the command line's: alone at fault, they make it wrong usage.
  const exitCode = problems.every(({ place }) => place.startsWith('--set')) ? 2 : 1;
  const [one, ...more] = lines;
  const message =
    more.length === 0 ? ` cannot be used: ${one}.` : ` has ${problems.length} mistakes:\n  ${lines.join('\n  ')}`;
  return new UserError(`The config ${path}${message}`, { exitCode });
}
