// The keys of a retrieval config: what each may hold, in the words of an error message, and which only training needs.
import type { z as Zod, ZodType } from 'zod';
import { schema } from '../disk/schema.js';
import { parseMemorySize } from './memory-size.js';

/** The tables of the keys. */
export const fieldTables = schema((z) => {
  const positive = z.number().int().min(1).describe('a whole number of at least 1');
  const natural = z.number().int().min(0).describe('a whole number of at least 0');
  const rate = z.number().min(0).describe('a number of at least 0');
  const fraction = z.number().min(0).max(1).describe('a number from 0 to 1');
  const dropout = z.number().min(0).lt(1).describe('a number from 0 to below 1');
  const flag = z.boolean().describe('True or False');
  /** Relative paths are relative to the working folder, as in the reference. */
  const folder = z.string().min(1).describe('the path of a folder');

  /** Keys that evaluation needs. */
  const evaluationFields = {
    image_root: folder,
    ann_root: folder,
    dataset: z.enum(['coco', 'flickr']).describe("'coco' or 'flickr'"),
    // '' (or False): random weights, as the reference's `if config['pretrained']` has it.
    pretrained: z
      .union([z.string(), z.literal(false).transform(() => '')])
      .refine((text) => !/^[a-z][a-z0-9+.-]+:\/\//i.test(text) || /^https?:\/\/[^/]/i.test(text))
      .refine((text) => !/^hf:/i.test(text) || /^hf:[^/@]+\/[^/@]+(?:@.+)?$/i.test(text))
      .describe('the path, http(s) URL, hf:OWNER/NAME or short name of a checkpoint'),
    batch_size_test: positive, // images that are encoded together
    k_test: positive, // candidates that are re-ranked for each query
  };

  /** Keys that evaluation needs unless the `pretrained` file tells them by its shapes. */
  const sizeFields = {
    vit: z.enum(['base', 'large', 'tiny']).describe("'base', 'large' or 'tiny'"),
    image_size: positive, // pixels of an edge
  };

  /** Keys that only training needs; evaluation checks them where they are given. */
  const trainingFields = {
    batch_size_train: positive,
    vit_grad_ckpt: flag,
    vit_ckpt_layer: natural,
    init_lr: rate,
    alpha: fraction,
    negative_all_rank: flag,
    weight_decay: rate,
    min_lr: rate,
    max_epoch: positive,
  };

  /** Keys that training needs unless there is a `pretrained` file. */
  const queueFields = { queue_size: positive };

  /** Keys that the reference does not have; all may be left out. */
  const optionalFields = {
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/i)
      .toLowerCase()
      .describe('the SHA-256 of the pretrained file, 64 hexadecimal digits'),
    vocab: z.string().min(1).describe('the path of a vocab.txt'),
    // Bytes that image features may take in evaluation; undefined: chosen by the memory there is.
    feature_memory: z
      .union([z.string(), z.number()])
      .refine((value) => value === 'auto' || parseMemorySize(value) !== undefined)
      .transform((value) => (value === 'auto' ? undefined : parseMemorySize(value)))
      .describe("'auto', a number of bytes or a size such as '8GB'"),
  };

  /** Fields of BLIP's med_config.json that `med_config` may override; what is left out keeps the published value. */
  const medFields = {
    hidden_size: positive,
    intermediate_size: positive,
    num_hidden_layers: positive,
    num_attention_heads: positive,
    max_position_embeddings: positive,
    vocab_size: positive,
    encoder_width: positive,
    pad_token_id: natural,
    layer_norm_eps: z.number().positive().describe('a number above 0'),
    initializer_range: rate,
    hidden_dropout_prob: dropout,
    attention_probs_dropout_prob: dropout,
  };

  /** Fields that change nothing in this model, or have one value only; a copied med_config.json holds them. */
  const fixedMedFields = {
    hidden_act: z.literal('gelu').describe("'gelu', the only activation of the published models"),
    add_cross_attention: z.literal(true).describe('True: retrieval needs cross-attention'),
    architectures: z.array(z.string()).describe('a list of names'),
    model_type: z.literal('bert').describe("'bert'"),
    type_vocab_size: positive,
  };

  const med_config = z.record(z.string(), z.unknown()).describe('a mapping of fields of med_config.json');
  const configFields = {
    ...evaluationFields,
    ...sizeFields,
    ...trainingFields,
    ...queueFields,
    ...optionalFields,
    med_config,
  };
  return {
    evaluationFields,
    sizeFields,
    trainingFields,
    queueFields,
    optionalFields,
    medFields,
    fixedMedFields,
    configFields,
  };
});

type Tables = ReturnType<typeof fieldTables>;
export type Fields = Readonly<Record<string, ZodType>>;
/** Checked values of `fields`, under the names that the file has. */
export type Values<F extends Fields> = { [K in keyof F]: Zod.output<F[K]> };
/** Checked values of the table `name`. */
export type TableValues<name extends keyof Tables> = Values<Tables[name]>;
