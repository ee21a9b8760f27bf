// Flags of the commands that open a Retriever.
import { flag, whole } from '../config/flag.js';
import { runFlags } from '../training/options.js';

/** How a checkpoint is opened. */
export const openFlags = {
  checkpoint: flag('<source>', 'a name that `models` lists, a file, folder, URL or hf:OWNER/NAME', 'coco-base'),
  device: runFlags.device,
  precision: runFlags.precision,
  threads: flag<number | undefined>(
    '<number>',
    'threads on a CPU (default: one for each core)',
    undefined,
    whole(1, 4096),
  ),
  offline: flag('', 'download nothing', false),
};

export const embedFlags = {
  output: flag<string | undefined>(
    '<file>',
    '.safetensors or .jsonl (default: JSON lines on standard output)',
    undefined,
  ),
  texts: flag<string | undefined>('<file>', 'embed texts too, one a line; - is standard input', undefined),
  batch_size: flag<number | undefined>(
    '<number>',
    'images encoded together (default: 8 on a CPU, 32 on a GPU)',
    undefined,
    whole(1, 4096),
  ),
  skip_bad_images: flag('', 'end with code 0 even if images cannot be read', false),
  quiet: flag('', 'print no progress', false),
  ...openFlags,
};

export const scoreFlags = {
  json: flag('', 'print JSON', false),
  ...openFlags,
};
