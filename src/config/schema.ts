// The keys of a retrieval config: what each may hold, in the words of an error message, and which only training needs.
import { z } from 'zod';
import { parseMemorySize } from './memory-size.js';

const positive = z.number().int().min(1).describe('a whole number of at least 1');
const natural = z.number().int().min(0).describe('a whole number of at least 0');
const rate = z.number().min(0).describe('a number of at least 0');
const fraction = z.number().min(0).max(1).describe('a number from 0 to 1');
const flag = z.boolean().describe('True or False');
const folder = z.string().min(1).describe('the path of a folder');

/** Edge of a patch of the vision transformer in pixels; `image_size` is a multiple of it. */
export const PATCH_SIZE = 16;

/** Keys that evaluation needs. */
export const evaluationFields = {
  image_root: folder,
  ann_root: folder,
  dataset: z.enum(['coco', 'flickr']).describe("'coco' or 'flickr'"),
  pretrained: z
    .string()
    .min(1)
    .refine((text) => !/^[a-z][a-z0-9+.-]+:\/\//i.test(text) || /^https?:\/\/[^/]/i.test(text))
    .describe('the path or the http(s) URL of a checkpoint'),
  vit: z.enum(['base', 'large', 'tiny']).describe("'base', 'large' or 'tiny'"),
  batch_size_test: positive,
  image_size: z
    .number()
    .int()
    .min(PATCH_SIZE)
    .max(4096)
    .multipleOf(PATCH_SIZE)
    .describe(`a multiple of ${PATCH_SIZE} up to 4096`),
  k_test: positive,
};

/** Keys that only training needs; evaluation checks them where they are given. */
export const trainingFields = {
  batch_size_train: positive,
  vit_grad_ckpt: flag,
  vit_ckpt_layer: natural,
  init_lr: rate,
  queue_size: positive,
  alpha: fraction,
  negative_all_rank: flag,
  weight_decay: rate,
  min_lr: rate,
  max_epoch: positive,
};

/** Keys that the reference does not have; all may be left out. */
export const optionalFields = {
  med_config: z.record(z.string(), z.unknown()).describe('a mapping of fields of med_config.json'),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/i)
    .describe('the SHA-256 of the pretrained file, 64 hexadecimal digits'),
  vocab: z.string().min(1).describe('the path of a vocab.txt'),
  feature_memory: z
    .union([z.string(), z.number()])
    .refine((value) => value === 'auto' || parseMemorySize(value) !== undefined)
    .describe("'auto', a number of bytes or a size such as '8GB'"),
};

/** Fields of BLIP's med_config.json that `med_config` may override. */
export const medFields = {
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  max_position_embeddings: z.number().int().min(35).describe('a whole number of at least 35'),
  // What bert-base-uncased has, and the two tokens that BLIP adds: a smaller table would lack rows.
  vocab_size: z.number().int().min(30_524).describe('a whole number of at least 30524'),
  encoder_width: positive,
  pad_token_id: natural,
  layer_norm_eps: z.number().positive().describe('a number above 0'),
  initializer_range: rate,
  hidden_dropout_prob: z.number().min(0).lt(1).describe('a number from 0 to below 1'),
  attention_probs_dropout_prob: z.number().min(0).lt(1).describe('a number from 0 to below 1'),
  hidden_act: z.literal('gelu').describe("'gelu', the only activation of the published models"),
  add_cross_attention: z.literal(true).describe('True: retrieval needs cross-attention'),
  // Names of the format that change nothing in this model; a copied med_config.json holds them.
  architectures: z.array(z.string()).describe('a list of names'),
  model_type: z.literal('bert').describe("'bert'"),
  type_vocab_size: positive,
};

export const configFields = { ...evaluationFields, ...trainingFields, ...optionalFields };

/** A config as the file names it, checked. */
export const configSchema = z
  .object(evaluationFields)
  .extend(z.object(trainingFields).partial().shape)
  .extend(z.object(optionalFields).partial().shape);
export const trainingSchema = z.object(trainingFields);
export const medSchema = z.object(medFields).partial();

export type ConfigValues = z.infer<typeof configSchema>;
export type TrainingValues = z.infer<typeof trainingSchema>;
export type MedValues = z.infer<typeof medSchema>;
