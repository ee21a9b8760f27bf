// run.json: what a run was, for its report.
import { cpus } from 'node:os';
import { join } from 'node:path';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { makeFolder } from '../disk/folder.js';
import { packageVersion } from '../libtorch/package-version.js';
import { visionNameOf } from '../model/architecture.js';
import { type ReportWords, RUN_FILE, type RunFacts, readRun } from '../report/run-files.js';
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
    command: commandLine(process.argv.slice(1)),
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
  await write(options.outputDir, facts);
}

/** What is run again in a shell: a file of JavaScript, as in a checkout, is started with node. */
function commandLine(words: readonly string[]): string {
  const [program = ''] = words;
  return [...(/\.[cm]?js$/.test(program) ? ['node'] : []), ...words.map(shellWord)].join(' ');
}

/** Adds words for the top of the report to the run.json of a run that has ended. @throws UserError where it cannot be written */
export async function addReportWords(outputDir: string, words: ReportWords): Promise<void> {
  const facts = readRun(outputDir).facts;
  if (facts !== undefined) await write(outputDir, { ...facts, words });
}

async function write(outputDir: string, facts: RunFacts): Promise<void> {
  const text = `${JSON.stringify(facts, undefined, 2)}\n`;
  await writeFileAtomically(join(outputDir, RUN_FILE), (file) => file.write(Buffer.from(text)));
}
