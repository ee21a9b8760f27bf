// The config.json beside weights of Hugging Face: what it says otherwise than these weights are used, where shapes cannot show it.
import { z } from 'zod';
import { readJson } from '../disk/json-file.js';
import { type Architecture, VISION_EPS } from './architecture.js';

const Part = z.object({
  num_attention_heads: z.number().optional(),
  layer_norm_eps: z.number().optional(),
  hidden_act: z.string().optional(),
});
const HuggingFaceConfig = z.object({ text_config: Part.optional(), vision_config: Part.optional() });

/**
 * A line for each setting of a checkpoint's config.json that differs from what is used here, with the reason; empty where
 * there is no such file.
 */
export function describeConfigJson(file: { config?: string } | undefined, { vision, text }: Architecture): string[] {
  const path = file?.config;
  const config = path === undefined ? undefined : readJson(path, HuggingFaceConfig);
  if (path === undefined || config === undefined) return [];
  const { text_config = {}, vision_config = {} } = config;
  const lines: string[] = [];
  const differs = (key: string, found: string | number | undefined, used: string | number, why: string) => {
    if (found !== undefined && found !== used) lines.push(`${path} says ${key} ${found}; ${used} is used: ${why}`);
  };
  const trained = 'BLIP was trained with it.';
  differs(
    'text_config.num_attention_heads',
    text_config.num_attention_heads,
    text.heads,
    `${trained} Older files of the hub have 8 by mistake; set med_config.num_attention_heads for another model.`,
  );
  differs('vision_config.num_attention_heads', vision_config.num_attention_heads, vision.heads, trained);
  differs('text_config.layer_norm_eps', text_config.layer_norm_eps, text.eps, trained);
  differs(
    'vision_config.layer_norm_eps',
    vision_config.layer_norm_eps,
    VISION_EPS,
    `${trained} A score differs by some 2.5e-5.`,
  );
  differs('text_config.hidden_act', text_config.hidden_act, 'gelu', trained);
  differs('vision_config.hidden_act', vision_config.hidden_act, 'gelu', trained);
  return lines;
}
