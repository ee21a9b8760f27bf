// A retrieval config from a YAML file and --set overrides: every mistake in one error, then camelCase settings.
import type { ZodType } from 'zod';
import { isRecord } from '../disk/json-file.js';
import { UserError } from '../errors.js';
import { printable } from '../logging/text.js';
import { parseMemorySize } from './memory-size.js';
import { nearestName } from './nearest.js';
import {
  configFields,
  configSchema,
  evaluationFields,
  type MedValues,
  medFields,
  medSchema,
  type TrainingValues,
  trainingFields,
  trainingSchema,
} from './schema.js';
import { kindOf, parseValue, readYamlFile } from './yaml.js';

/** Settings that only training has. Rates and epochs as in the reference's files. */
export interface TrainingConfig {
  batchSizeTrain: number;
  vitGradCkpt: boolean;
  vitCkptLayer: number;
  initLr: number;
  queueSize: number;
  alpha: number;
  negativeAllRank: boolean;
  weightDecay: number;
  minLr: number;
  maxEpoch: number;
}

/** Fields of the text encoder that the config overrides; what is absent keeps the published value. */
export interface MedConfigOverrides {
  hiddenSize?: number;
  intermediateSize?: number;
  numHiddenLayers?: number;
  numAttentionHeads?: number;
  maxPositionEmbeddings?: number;
  vocabSize?: number;
  padTokenId?: number;
  layerNormEps?: number;
  initializerRange?: number;
  hiddenDropoutProb?: number;
  attentionProbsDropoutProb?: number;
}

/** A checked config. Relative paths are relative to the working folder, as in the reference. */
export interface RetrievalConfig {
  imageRoot: string;
  annRoot: string;
  dataset: 'coco' | 'flickr';
  /** Path or http(s) URL. */
  pretrained: string;
  /** Of the pretrained file, lower case. */
  sha256: string | undefined;
  vit: 'base' | 'large' | 'tiny';
  /** Pixels of an edge. */
  imageSize: number;
  /** Images that are encoded together. */
  batchSizeTest: number;
  /** Candidates that are re-ranked for each query. */
  kTest: number;
  /** Length of the momentum queues, where the config gives it; evaluation does without. */
  queueSize?: number;
  medConfig: MedConfigOverrides;
  /** Path of the user's own vocab.txt. */
  vocab: string | undefined;
  /** Bytes that image features may take in evaluation; undefined: choose by the memory there is. */
  featureMemory: number | undefined;
  /** Complete training settings, or undefined when the file leaves some out. */
  training: TrainingConfig | undefined;
  /** The mapping as the file and the overrides give it: what config.yaml holds. */
  raw: Readonly<Record<string, unknown>>;
}

export interface LoadConfigOptions {
  /** Missing training keys are then mistakes too. */
  training?: boolean;
}

/** Width of the vision transformer's tokens, which cross-attention reads. */
const VISION_WIDTHS = { base: 768, large: 1024, tiny: 64 } as const;

/**
 * Reads and checks a config.
 * @param path YAML file
 * @param overrides `key=value` or `med_config.key=value`, later ones win; values are YAML
 * @throws UserError that lists every unknown key, missing key and wrong value with its line and the nearest known key
 */
export function loadConfig(
  path: string,
  overrides: readonly string[] = [],
  options: LoadConfigOptions = {},
): RetrievalConfig {
  const { values, lines } = readYamlFile(path);
  const places = new Map([...lines].map(([key, line]) => [key, `line ${line}`]));
  const problems: Problem[] = [];
  for (const override of overrides) problems.push(...applyOverride(values, places, override));

  // A key without a value counts as left out, as its author means it.
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
  const raw = Object.fromEntries(given);
  checkFields(raw, configFields, '', places, problems);
  const required = { ...evaluationFields, ...(options.training ? trainingFields : {}) };
  for (const [key, schema] of Object.entries(required)) {
    if (!Object.hasOwn(raw, key) && !problems.some((problem) => problem.meant === key)) {
      problems.push({ place: places.get(key) ?? 'missing', text: `${key}, ${schema.description}, is not given` });
    }
  }
  const med = raw.med_config;
  if (isRecord(med)) checkFields(med, medFields, 'med_config.', places, problems);
  const config = configSchema.safeParse(raw);
  const medConfig = medSchema.safeParse(med ?? {});
  if (problems.length === 0 && config.success && medConfig.success) {
    problems.push(...crossChecks(config.data.vit, medConfig.data, places));
  }
  if (problems.length > 0 || !config.success || !medConfig.success) throw configError(path, problems);

  const file = config.data;
  const training = trainingSchema.safeParse(raw);
  return {
    imageRoot: file.image_root,
    annRoot: file.ann_root,
    dataset: file.dataset,
    pretrained: file.pretrained,
    sha256: file.sha256?.toLowerCase(),
    vit: file.vit,
    imageSize: file.image_size,
    batchSizeTest: file.batch_size_test,
    kTest: file.k_test,
    ...(file.queue_size === undefined ? {} : { queueSize: file.queue_size }),
    medConfig: medOverrides(medConfig.data),
    vocab: file.vocab,
    featureMemory: file.feature_memory === undefined ? undefined : parseMemorySize(file.feature_memory),
    training: training.success ? trainingConfig(training.data) : undefined,
    raw,
  };
}

/** A file that is no config at all would fill the screen. */
const MAX_LISTED = 40;

interface Problem {
  /** `line 4`, `--set k_test=x`, `missing`. */
  place: string;
  text: string;
  /** The known key that a mistyped one seems to mean: it is not reported as missing as well. */
  meant?: string;
}

function applyOverride(values: Record<string, unknown>, places: Map<string, string>, override: string): Problem[] {
  const [, name, text] = /^\s*([^=\s]+)\s*=(.*)$/s.exec(override) ?? [];
  const place = `--set ${printable(override, 60)}`;
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
    return [{ place, text: `unknown key ${printable(name, 60)}; only med_config has fields below it` }];
  }
  target[key] = parseValue(text, place);
  places.set(name, place);
  return [];
}

function checkFields(
  values: Record<string, unknown>,
  fields: Readonly<Record<string, ZodType>>,
  prefix: string,
  places: ReadonlyMap<string, string>,
  problems: Problem[],
): void {
  for (const [key, value] of Object.entries(values)) {
    const place = places.get(prefix + key) ?? places.get(prefix.slice(0, -1)) ?? 'config';
    const schema = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (schema === undefined) {
      const near = problems.length < MAX_LISTED ? nearestName(key, Object.keys(fields)) : undefined;
      const hint = near === undefined ? '' : `; the nearest known key is ${prefix}${near}`;
      const text = `unknown key ${prefix}${printable(key, 60)}${hint}`;
      problems.push(near === undefined ? { place, text } : { place, text, meant: prefix + near });
    } else if (!schema.safeParse(value).success) {
      problems.push({
        place,
        text: `expected ${schema.description} for ${prefix}${key} but received ${kindOf(value)}`,
      });
    }
  }
}

function crossChecks(vit: keyof typeof VISION_WIDTHS, med: MedValues, places: ReadonlyMap<string, string>): Problem[] {
  const width = VISION_WIDTHS[vit];
  if (med.encoder_width === undefined || med.encoder_width === width) return [];
  const place = places.get('med_config.encoder_width') ?? places.get('med_config') ?? 'med_config';
  const text = `expected ${width}, the width of vit ${vit}, for med_config.encoder_width but received ${med.encoder_width}`;
  return [{ place, text }];
}

function configError(path: string, problems: readonly Problem[]): UserError {
  const lines = problems.slice(0, MAX_LISTED).map(({ place, text }) => `${place}: ${text}`);
  if (problems.length > MAX_LISTED) lines.push(`and ${problems.length - MAX_LISTED} more`);
  // Overrides are the command line's: alone at fault, they make it wrong usage.
  const exitCode = problems.every(({ place }) => place.startsWith('--set')) ? 2 : 1;
  const message =
    lines.length === 1
      ? `The config ${path} cannot be used, ${lines[0]}.`
      : `The config ${path} cannot be used, ${problems.length} mistakes:\n  ${lines.join('\n  ')}`;
  return new UserError(message, { exitCode });
}

function trainingConfig(values: TrainingValues): TrainingConfig {
  return {
    batchSizeTrain: values.batch_size_train,
    vitGradCkpt: values.vit_grad_ckpt,
    vitCkptLayer: values.vit_ckpt_layer,
    initLr: values.init_lr,
    queueSize: values.queue_size,
    alpha: values.alpha,
    negativeAllRank: values.negative_all_rank,
    weightDecay: values.weight_decay,
    minLr: values.min_lr,
    maxEpoch: values.max_epoch,
  };
}

function medOverrides(values: MedValues): MedConfigOverrides {
  const named: { [K in keyof MedConfigOverrides]-?: MedConfigOverrides[K] | undefined } = {
    hiddenSize: values.hidden_size,
    intermediateSize: values.intermediate_size,
    numHiddenLayers: values.num_hidden_layers,
    numAttentionHeads: values.num_attention_heads,
    maxPositionEmbeddings: values.max_position_embeddings,
    vocabSize: values.vocab_size,
    padTokenId: values.pad_token_id,
    layerNormEps: values.layer_norm_eps,
    initializerRange: values.initializer_range,
    hiddenDropoutProb: values.hidden_dropout_prob,
    attentionProbsDropoutProb: values.attention_probs_dropout_prob,
  };
  return Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined));
}
