// `models`: the published checkpoints by their short names, and which of them are on this machine.

import { cachedPretrained } from '../download/pretrained-file.js';
import { PUBLISHED_MODELS } from '../download/published-models.js';
import type { ProgressStream } from '../logging/progress-bar.js';
import { table } from '../logging/table.js';
import { fitted, roomOf } from '../logging/terminal.js';

export interface ModelsOptions {
  json?: boolean;
}

/**
 * Prints name, sizes and content of each, at most 80 columns wide, then where those are that are here.
 * JSON: a list of {"name", "source", "what", "vit", "image_size", "about_bytes", "cached"}, where cached is a path or null.
 */
export async function modelsCommand(options: ModelsOptions = {}, out: ProgressStream = process.stdout): Promise<void> {
  const cached = await Promise.all(PUBLISHED_MODELS.map(({ source }) => cachedPretrained(source)));
  const models = PUBLISHED_MODELS.map((model, i) => ({ ...model, cached: cached[i] }));
  if (options.json === true) {
    const rows = models.map(({ name, source, what, vit, imageSize, aboutBytes, cached }) => ({
      ...{ name, source, what, vit, image_size: imageSize, about_bytes: aboutBytes, cached: cached ?? null },
    }));
    out.write(`${JSON.stringify(rows, undefined, 2)}\n`);
    return;
  }
  const rows = models.map(({ name, vit, imageSize, aboutBytes, what, cached }) => {
    return [
      name,
      vit,
      `${imageSize}`,
      `${(aboutBytes / 1e9).toFixed(1)} GB`,
      cached === undefined ? 'no' : 'yes',
      what,
    ];
  });
  const here = models.filter(({ cached }) => cached !== undefined).map(({ name, cached }) => `${name}: ${cached}`);
  const header = ['name', 'vit', 'px', 'about', 'here', 'what'];
  out.write(`${table([header, ...rows], 'left', roomOf(out))}\n\n`);
  if (here.length > 0) out.write(`${here.map((line) => fitted(line, out)).join('\n')}\n\n`);
  const how = 'A name stands for a file, as in pretrained=coco-base. `fetch NAME` gets one.';
  out.write(`${fitted(how, out)}\n`);
}
