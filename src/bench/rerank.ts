// `bench rerank`: the same evaluation by this program and by a checkout of salesforce/BLIP, alternately, in one run.
import { join } from 'node:path';
import { itmEval, type RetrievalMetrics } from '../evaluation/recall.js';
import { type Machine, machine } from './machine.js';
import { readScores, writeImages } from './matrices.js';
import { drawCheckpoint, startOwn, startReference, title } from './programs.js';
import { Memory, type ModelSetting, type PhaseSeconds, Reranked, Timed } from './protocol.js';
import { withScratch } from './scratch.js';
import { compareScores, type ScoreComparison, type Summary, summary } from './statistics.js';

import type { Worker } from './worker.js';
import { drawCaptions, drawImages, spreadTexts } from './workload.js';

export interface RerankOptions extends Omit<ModelSetting, 'checkpoint'> {
  /** Folder of a checkout of salesforce/BLIP. */
  reference: string;
  /** Python that has its packages. */
  python: string;
  /** Checkpoint file; without it one is drawn by a rule. */
  pretrained?: string;
  images: number;
  texts: number;
  k: number;
  /** Images at a time in the vision encoder. */
  batch: number;
  rounds: number;
  threads: number;
  seed: number;
}

export interface ProgramReport {
  versions: Record<string, string>;
  /** One entry a round. */
  rounds: PhaseSeconds[];
  /** Pairs that the reference scores, divided by the seconds of re-ranking: the shortest and the median. */
  pairs_per_second: { best: number; median: number };
  /** The same by the seconds that all threads together computed. */
  pairs_per_cpu_second: { best: number; median: number };
  feature_seconds: Summary;
  total_seconds: Summary;
  /** Of all threads, in the whole evaluation. */
  cpu_seconds: Summary;
  peak_bytes: number;
  device_peak_bytes?: number;
  recalls: RetrievalMetrics;
}

export interface RerankReport {
  machine: Machine;
  options: RerankOptions;
  /** (images + texts) · k: what the reference scores one by one, whatever either program makes of it. */
  pairs: number;
  own: ProgramReport;
  reference: ProgramReport;
  /** Our pairs a second divided by the reference's. */
  ratio: { best: number; median: number };
  scores: ScoreComparison;
  recalls_equal: boolean;
}

interface Program {
  name: 'own' | 'reference';
  worker: Worker;
  versions: Record<string, string>;
  rounds: PhaseSeconds[];
}

/**
 * Measures both programs on the same images, captions and weights; both stay loaded and take turns, A B A B.
 *
 * @param say receives a line at each step, for the user who waits
 * @throws UserError when either program cannot run, with what it lacks
 */
export async function benchRerank(options: RerankOptions, say: (line: string) => void): Promise<RerankReport> {
  const at = machine();
  return await withScratch(async (folder) => {
    const work = {
      images: join(folder, 'images.safetensors'),
      captions: drawCaptions(options.texts, options.seed),
    };
    const imageOfText = spreadTexts(options.texts, options.images);
    const pixels = drawImages(options.images, options.image_size, options.seed);
    await writeImages(work.images, pixels, options.images, options.image_size);
    const checkpoint = options.pretrained ?? join(folder, 'drawn.pth');
    if (options.pretrained === undefined) {
      say(`drawing the weights of vit ${options.vit} by a rule`);
      await drawCheckpoint({ ...modelOf(options), checkpoint });
    }

    const programs: Program[] = [];
    try {
      for (const name of ['reference', 'own'] as const) {
        const { worker, hello } =
          name === 'own'
            ? await startOwn(options.threads, options.device)
            : await startReference({ ...options, folder });
        programs.push({ name, worker, versions: hello.versions, rounds: [] });
        const { seconds } = await worker.ask({ op: 'load', ...modelOf(options), checkpoint }, Timed);
        say(`${title[name]} loaded in ${seconds.toFixed(1)} s`);
      }
      for (let round = 1; round <= options.rounds; round++) {
        for (const program of programs) {
          const { seconds } = await program.worker.ask(
            { op: 'rerank', ...work, k: options.k, batch: options.batch, scores: scoresOf(folder, program.name) },
            Reranked,
          );
          program.rounds.push(seconds);
          say(`round ${round} of ${options.rounds}: ${title[program.name]} ${total(seconds).toFixed(1)} s`);
        }
      }
      const pairs = (options.images + options.texts) * options.k;
      const reports = new Map<string, ProgramReport>();
      for (const program of programs)
        reports.set(program.name, await report(program, pairs, folder, imageOfText, options.images));
      const [own, reference] = [reports.get('own'), reports.get('reference')];
      if (!own || !reference) throw new Error('a program was not measured');
      return {
        machine: at,
        options,
        pairs,
        own,
        reference,
        ratio: {
          best: own.pairs_per_second.best / reference.pairs_per_second.best,
          median: own.pairs_per_second.median / reference.pairs_per_second.median,
        },
        scores: compareBoth(folder),
        recalls_equal: JSON.stringify(own.recalls) === JSON.stringify(reference.recalls),
      };
    } finally {
      await Promise.all(programs.map(({ worker }) => worker.close()));
    }
  });
}

const modelOf = ({ vit, image_size, queue_size, device, precision }: RerankOptions) => ({
  vit,
  image_size,
  queue_size,
  device,
  precision,
});

const scoresOf = (folder: string, name: string) => join(folder, `scores_${name}.safetensors`);

const total = ({ features, rerank }: PhaseSeconds) => features + rerank;

/** Both programs' recalls are counted by our itmEval from their matrices, so that only scores can make them differ. */
async function report(
  program: Program,
  pairs: number,
  folder: string,
  imageOfText: readonly number[],
  images: number,
): Promise<ProgramReport> {
  const memory = await program.worker.ask({ op: 'memory' }, Memory);
  const rerank = summary(program.rounds.map((seconds) => seconds.rerank));
  const cpu = summary(program.rounds.map((seconds) => seconds.rerank_cpu));
  const { i2t, t2i } = readScores(scoresOf(folder, program.name));
  const img2txt = Array.from({ length: images }, (_, i) => [...imageOfText.keys()].filter((t) => imageOfText[t] === i));
  return {
    versions: program.versions,
    rounds: program.rounds,
    pairs_per_second: { best: pairs / rerank.min, median: pairs / rerank.median },
    pairs_per_cpu_second: { best: pairs / cpu.min, median: pairs / cpu.median },
    feature_seconds: summary(program.rounds.map((seconds) => seconds.features)),
    total_seconds: summary(program.rounds.map(total)),
    cpu_seconds: summary(program.rounds.map((seconds) => seconds.cpu)),
    peak_bytes: memory.peak_bytes,
    ...(memory.device_peak_bytes === undefined ? {} : { device_peak_bytes: memory.device_peak_bytes }),
    recalls: itmEval(i2t, t2i, Int32Array.from(imageOfText), img2txt),
  };
}

function compareBoth(folder: string): ScoreComparison {
  const [own, reference] = [readScores(scoresOf(folder, 'own')), readScores(scoresOf(folder, 'reference'))];
  const [i2t, t2i] = [compareScores(own.i2t, reference.i2t), compareScores(own.t2i, reference.t2i)];
  return {
    maxDifference: Math.max(i2t.maxDifference, t2i.maxDifference),
    both: i2t.both + t2i.both,
    one: i2t.one + t2i.one,
  };
}
