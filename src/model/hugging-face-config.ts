// The config.json beside weights of Hugging Face: what it says otherwise than these weights are used, where shapes cannot show it.
import { readFileSync, statSync } from 'node:fs';
import { isRecord, printable } from '../errors.js';
import { type Architecture, VISION_EPS } from './architecture.js';

/** Bytes. Those of transformers have some thousand. */
const LARGEST = 4_000_000;

/**
 * A line for each setting of a checkpoint's config.json that differs from what is used here, with the reason; one where it
 * cannot be read; empty where there is no such file.
 */
export function describeConfigJson(file: { config?: string } | undefined, { vision, text }: Architecture): string[] {
  const path = file?.config;
  if (path === undefined) return [];
  const config = readConfigJson(path);
  if (config === undefined) {
    const missed =
      'Numbers of heads and epsilons that it may have were not compared with those of BLIP, which are used.';
    return [`${path} cannot be read as a JSON object. ${missed}`];
  }
  const lines: string[] = [];
  const differs = (key: string, used: string | number, why: string) => {
    const [part = '', name = ''] = key.split('.');
    const settings = config[part];
    const found = isRecord(settings) ? settings[name] : undefined;
    if (found === undefined || found === null || found === used) return;
    const shown = typeof found === 'number' ? found : printable(JSON.stringify(found));
    lines.push(`${path} says ${key} ${shown}; ${used} is used: ${why}`);
  };
  const trained = 'BLIP was trained with it.';
  const chosen = 'it is that of med_config, or of the training of BLIP.';
  differs(
    'text_config.num_attention_heads',
    text.heads,
    `${chosen} Older files of the hub have 8 by mistake; set med_config.num_attention_heads for another model.`,
  );
  differs('vision_config.num_attention_heads', vision.heads, trained);
  differs('text_config.layer_norm_eps', text.eps, chosen);
  differs('vision_config.layer_norm_eps', VISION_EPS, `${trained} A score differs by some 2.5e-5.`);
  differs('text_config.hidden_act', 'gelu', trained);
  differs('vision_config.hidden_act', 'gelu', trained);
  return lines;
}

function readConfigJson(path: string): Record<string, unknown> | undefined {
  try {
    if (statSync(path).size > LARGEST) return undefined;
    const config: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return isRecord(config) ? config : undefined;
  } catch {
    return undefined;
  }
}
