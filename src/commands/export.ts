// `export CHECKPOINT DESTINATION`: weights of any form as a folder for transformers, or as the reference's .pth file.
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { type MedConfig, medConfigOf } from '../config/load.js';
import { bertVocabulary, readVocabulary } from '../data/vocabulary.js';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { makeFolder } from '../disk/folder.js';
import { isInHubCache } from '../download/hub/cache.js';
import { fetchPretrained } from '../download/pretrained-file.js';
import { shownUrl } from '../download/url.js';
import { printable, UserError } from '../errors.js';
import type { RetrievalMetrics } from '../evaluation/recall.js';
import { fitted } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import { type Architecture, architectureOf, loadConfig } from '../model/architecture.js';
import { sizesOf } from '../model/checkpoint-entries.js';
import { describeConfigJson } from '../model/hugging-face-config.js';
import { configJson, preprocessorJson, tokenizerFiles } from '../model/hugging-face-files.js';
import { compareCheckpoint, demandEvaluated } from '../model/pretrained.js';
import { type StoredWeights, writeHuggingFaceWeights, writeReferenceWeights } from '../model/write-weights.js';
import { type Checkpoint, openTensorFile, type PickleValue } from '../torch/checkpoint/index.js';
import { loggedBest } from '../training/run-logs.js';

export interface ExportOptions {
  /** 'hf', a folder for transformers, or 'pth', a file of the reference's form. */
  format: 'hf' | 'pth';
  /** Weights in float16. */
  half: boolean;
  /** The config of the training, where the checkpoint does not hold it. */
  config?: string | undefined;
}

/**
 * Writes the weights of `source`, whatever names and form they have, to `destination`, and says what was written.
 * @throws UserError where they are no retrieval model's, or the destination cannot be written
 */
export async function exportCommand(source: string, destination: string, options: ExportOptions): Promise<void> {
  const print = (line: string) => console.log(fitted(line));
  if (isInHubCache(destination))
    throw new UserError(
      `${destination} is in Hugging Face's cache, whose files are shared and named by their contents. Name another folder.`,
    );
  const found = await fetchPretrained(source, { print });
  using file = await openTensorFile(found.path);
  const architecture = architectureOf(settingsOf(file.checkpoint, options), sizesOf(file.checkpoint));
  const { refs, report } = compareCheckpoint(file.checkpoint, architecture);
  demandEvaluated(report, 'Name a checkpoint that has them, or with --config the config that it was trained with.');
  for (const note of [...report.notes, ...describeConfigJson(found, architecture)]) print(note);
  const write = options.format === 'pth' ? writePth : writeFolder;
  const lines = await write({ weights: { file, refs, architecture }, options, destination, source });
  for (const line of lines) print(line);
}

interface Job {
  weights: StoredWeights;
  options: ExportOptions;
  destination: string;
  source: string;
}

/** What a config says of the model: the one that is given, else that of the training, which a checkpoint holds. */
function settingsOf(checkpoint: Checkpoint, { config }: ExportOptions) {
  if (config !== undefined) return { medConfig: loadConfig(config).medConfig };
  const { root } = checkpoint;
  const held = root instanceof Map ? root.get('config') : undefined;
  const med = held instanceof Map ? held.get('med_config') : undefined;
  const fields = med instanceof Map ? [...med].map(([key, value]): [string, PickleValue] => [String(key), value]) : [];
  const medConfig: MedConfig = medConfigOf(Object.fromEntries(fields));
  return { medConfig };
}

/** The folder that transformers' BlipForImageTextRetrieval.from_pretrained reads. */
async function writeFolder({ weights, options, destination, source }: Job): Promise<string[]> {
  if (/\.(?:pth|pt|bin|safetensors)$/i.test(destination)) {
    const remedy = 'Name a folder, or set --format pth.';
    throw new UserError(`${destination} looks like a file, and the export for transformers is a folder. ${remedy}`);
  }
  const { architecture, file } = weights;
  makeFolder(destination);
  const path = join(destination, 'model.safetensors');
  const written = await writeHuggingFaceWeights(weights, path, options);
  const types = new Set(written.values());
  const dtype = (['float32', 'bfloat16', 'float16'] as const).find((name) => types.has(name)) ?? 'float32';
  const { vocab } = options.config === undefined ? {} : loadConfig(options.config);
  for (const [name, content] of Object.entries({
    'config.json': configJson(architecture, dtype),
    'preprocessor_config.json': preprocessorJson(architecture),
    ...tokenizerFiles(vocab === undefined ? bertVocabulary() : readVocabulary(vocab)),
  }))
    await writeText(join(destination, name), content);
  const readme = join(destination, 'README.md');
  const keepsReadme = existsSync(readme) && !readFileSync(readme, 'utf8').includes(EXPORTED);
  if (!keepsReadme) await writeText(readme, card(architecture, source, recallsOf(file.checkpoint)));
  return [
    `${counted(written.size, 'tensor')} written to ${path}, with ${keepsReadme ? 'config and tokenizer' : 'config, tokenizer and README.md'}.`,
    ...(keepsReadme ? [`${readme} is somebody's own, and stays as it is.`] : []),
    `Load it with transformers:\n  BlipForImageTextRetrieval.from_pretrained(${JSON.stringify(destination)})`,
  ];
}

function writeText(path: string, content: string): Promise<void> {
  return writeFileAtomically(path, (to) => to.write(Buffer.from(content)));
}

/** The recalls on test that the log.txt beside a checkpoint has for the epoch after which that was the best. */
function recallsOf({ path, root }: Checkpoint): RetrievalMetrics | undefined {
  if (!(root instanceof Map) || root.has('resume')) return undefined; // checkpoint_last.pth may be anywhere in an epoch
  const epoch = root.get('epoch');
  return typeof epoch === 'number' ? loggedBest(dirname(path), epoch)?.bestTest : undefined;
}

/** A file of the reference's form. */
async function writePth({ weights, options, destination }: Job): Promise<string[]> {
  if (!/\.(?:pth|pt|bin)$/i.test(destination))
    throw new UserError(`${destination} is no name of a checkpoint. End it in .pth.`);
  makeFolder(dirname(destination));
  const count = await writeReferenceWeights(weights, destination, options);
  return [`${counted(count, 'tensor')} written to ${destination}.`];
}

/** How the card begins: a README.md without it is not overwritten. */
const EXPORTED = 'Exported by blip-retrieval from';

/** A source as strangers may read it: of a file its name alone, of a URL no login. */
function publicName(source: string): string {
  if (/^hf:/i.test(source)) return source;
  const name = /^https?:/i.test(source) ? shownUrl(source) : basename(resolve(source));
  return printable(name.replaceAll('`', "'"), 200);
}

const PERCENT = (value: number) => value.toFixed(1);

/** The model card: what it is, how its scores are computed with transformers, and its recalls where a log has them. */
function card({ vision }: Architecture, source: string, recalls: RetrievalMetrics | undefined): string {
  const lines = [
    '---',
    'library_name: transformers',
    'tags: [blip, image-text-retrieval]',
    '---',
    '',
    '# BLIP for image-text retrieval',
    '',
    `${EXPORTED} \`${publicName(source)}\`: vision transformer of width ${vision.width} with ${counted(vision.depth, 'block')}, images of ${vision.imageSize} pixels.`,
    '',
  ];
  if (recalls !== undefined)
    lines.push(
      'Recalls on the test split of its training, in percent:',
      '',
      '| | R@1 | R@5 | R@10 |',
      '|---|---|---|---|',
      `| text retrieval | ${[recalls.txt_r1, recalls.txt_r5, recalls.txt_r10].map(PERCENT).join(' | ')} |`,
      `| image retrieval | ${[recalls.img_r1, recalls.img_r5, recalls.img_r10].map(PERCENT).join(' | ')} |`,
      '',
    );
  lines.push(
    'Retrieval was trained with [ENC] as the first token of a text that is read together with an image, and a score is the',
    'sum of the matching logit and the similarity. transformers leaves [CLS] there and gives one of the two at a time:',
    '',
    '```python',
    'model = BlipForImageTextRetrieval.from_pretrained(FOLDER)',
    'inputs = BlipProcessor.from_pretrained(FOLDER)(images=image, text=text, return_tensors="pt")',
    'similarity = model(**inputs, use_itm_head=False)[0]',
    'inputs["input_ids"][:, 0] = 30523  # [ENC]',
    'matching = model(**inputs)[0][:, 1:]',
    'score = matching + similarity',
    '```',
    '',
  );
  return lines.join('\n');
}
