// run.json: what a run was, for its report.
import { cpus } from 'node:os';
import { join } from 'node:path';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { makeFolder } from '../disk/folder.js';
import { packageVersion } from '../libtorch/package-version.js';
import { visionNameOf } from '../model/architecture.js';
import { RUN_FILE, type RunFacts } from '../report/run-files.js';
import { native } from '../torch/native.js';
import type { Run } from '../training/run.js';
import { shellWord } from './shell-word.js';

/**
 * Writes run.json into the output folder; `since` is when it began, in milliseconds of the epoch; `seconds` is null
 * while it goes on. @throws UserError where it cannot be written
 */
export async function writeRunFacts(run: Run, since: number, seconds: number | null): Promise<void> {
  const { options, config, device, ranks, architecture } = run;
  const facts: RunFacts = {
    command: process.argv.slice(1).map(shellWord).join(' '),
    started: new Date(since).toISOString(),
    seconds,
    evaluated: options.evaluate,
    version: packageVersion(),
    node: process.versions.node,
    libtorch: native().version().built,
    device,
    processor: cpus()[0]?.model.trim() ?? process.arch,
    precision: options.precision,
    threads: native().getThreads(),
    ranks: ranks.worldSize,
    seed: options.seed,
    checkpoint: config.pretrained,
    config: options.config,
    dataset: config.dataset,
    vit: visionNameOf(architecture.vision.width, architecture.vision.depth) ?? '',
    image_size: architecture.vision.imageSize,
  };
  makeFolder(options.outputDir);
  const text = `${JSON.stringify(facts, undefined, 2)}\n`;
  await writeFileAtomically(join(options.outputDir, RUN_FILE), (file) => file.write(Buffer.from(text)));
}
