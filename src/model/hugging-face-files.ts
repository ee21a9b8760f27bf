// The files beside the weights in a folder that transformers' from_pretrained reads: configs and the tokenizer's.
import { IMAGE_MEAN, IMAGE_STD } from '../data/images/normalization.js';
import { ADDED_TOKENS, VOCABULARY_SIZE } from '../data/vocabulary.js';
import { type Architecture, VISION_EPS } from './architecture.js';

export type ExportDType = 'float32' | 'float16' | 'bfloat16';

/** [SEP] of bert-base-uncased. */
const SEP_TOKEN_ID = 102;

/** config.json of BlipForImageTextRetrieval. The heads and the eps are those of training, not transformers' defaults. */
export function configJson({ vision, text, embedDim }: Architecture, dtype: ExportDType): string {
  return json({
    architectures: ['BlipForImageTextRetrieval'],
    model_type: 'blip',
    // Transformers 5 reads the first, 4 the second.
    dtype,
    torch_dtype: dtype,
    image_text_hidden_size: embedDim,
    initializer_factor: float(1),
    initializer_range: float(0.02),
    logit_scale_init_value: float(2.6592),
    projection_dim: 512,
    text_config: {
      model_type: 'blip_text_model',
      vocab_size: text.vocabulary,
      hidden_size: text.width,
      encoder_hidden_size: vision.width,
      intermediate_size: text.intermediate,
      num_hidden_layers: text.depth,
      num_attention_heads: text.heads,
      max_position_embeddings: text.positions,
      hidden_act: 'gelu',
      layer_norm_eps: float(text.eps),
      initializer_range: float(text.initializerRange),
      hidden_dropout_prob: float(text.hiddenDropout),
      attention_probs_dropout_prob: float(text.attentionDropout),
      is_decoder: true,
      use_cache: true,
      bos_token_id: VOCABULARY_SIZE,
      eos_token_id: 2,
      pad_token_id: 0,
      sep_token_id: SEP_TOKEN_ID,
      projection_dim: 768,
    },
    vision_config: {
      model_type: 'blip_vision_model',
      hidden_size: vision.width,
      intermediate_size: 4 * vision.width,
      num_hidden_layers: vision.depth,
      num_attention_heads: vision.heads,
      image_size: vision.imageSize,
      patch_size: vision.patchSize,
      hidden_act: 'gelu',
      layer_norm_eps: float(VISION_EPS),
      attention_dropout: float(0),
      initializer_range: float(1e-10),
      projection_dim: 512,
    },
  });
}

/** preprocessor_config.json: what the test transform does, a bicubic resize to a square without keeping the ratio. */
export function preprocessorJson({ vision: { imageSize } }: Architecture): string {
  return json({
    image_processor_type: 'BlipImageProcessor',
    processor_class: 'BlipProcessor',
    do_convert_rgb: true,
    do_resize: true,
    size: { height: imageSize, width: imageSize },
    resample: 3,
    do_rescale: true,
    rescale_factor: float(1 / 255),
    do_normalize: true,
    image_mean: IMAGE_MEAN.map(float),
    image_std: IMAGE_STD.map(float),
  });
}

const SPECIAL = {
  unk_token: '[UNK]',
  sep_token: '[SEP]',
  pad_token: '[PAD]',
  cls_token: '[CLS]',
  mask_token: '[MASK]',
  additional_special_tokens: ADDED_TOKENS,
};

/** Files of the tokenizer by name; `tokens` is the vocabulary without BLIP's two additions. */
export function tokenizerFiles(tokens: readonly string[]): Record<string, string> {
  const all = [...tokens, ...ADDED_TOKENS];
  const config = {
    tokenizer_class: 'BertTokenizer',
    processor_class: 'BlipProcessor',
    do_lower_case: true,
    do_basic_tokenize: true,
    strip_accents: null,
    tokenize_chinese_chars: true,
    model_max_length: 512,
    ...SPECIAL,
  };
  return {
    'vocab.txt': `${all.join('\n')}\n`,
    'tokenizer_config.json': json(config),
    'special_tokens_map.json': json(SPECIAL),
    'tokenizer.json': tokenizerJson(all),
  };
}

/** tokenizer.json of the library `tokenizers`: BERT's WordPiece, with [CLS] and [SEP] around a text. */
function tokenizerJson(tokens: readonly string[]): string {
  const id = (token: string) => tokens.indexOf(token);
  const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...ADDED_TOKENS];
  return json({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special
      .map((content) => ({
        id: id(content),
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      }))
      .sort((a, b) => a.id - b.id),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'BertProcessing',
      sep: ['[SEP]', id('[SEP]')],
      cls: ['[CLS]', id('[CLS]')],
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(tokens.map((token, index) => [token, index])),
    },
  });
}

/** A number that transformers wants as Python's float: 1 would be an int. Stands for itself until `json` writes it. */
function float(value: number): string {
  const digits = String(value);
  return `\u0000${/^-?\d+$/.test(digits) ? `${digits}.0` : digits}`;
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2).replace(/"\\u0000([^"]+)"/g, '$1')}\n`;
}
