// `bench rerank`: the same evaluation by this program and by a checkout of salesforce/BLIP, alternately, in one run.
import { join } from 'node:path';
import { get } from '../errors.js';
import { itmEval } from '../evaluation/recall.js';
import { readSafetensors } from '../torch/safetensors.js';
import {
  alternate,
  type ComparisonOptions,
  checkpointOf,
  type ModelOptions,
  machine,
  scratchFolder,
} from './harness.js';
import { type PhaseSeconds, Reranked } from './protocol.js';
import { compareScores, peakMemory, type Summary, summary } from './statistics.js';
import { drawInputs, spreadTexts } from './workload.js';

export interface RerankOptions extends ComparisonOptions, ModelOptions {
  images: number;
  texts: number;
  k: number;
}

export type RerankReport = Awaited<ReturnType<typeof benchRerank>>;

const total = ({ features, rerank }: PhaseSeconds) => features + rerank;

/**
 * Measures both programs on the same images, captions and weights; both stay loaded and alternate.
 * @throws UserError when either program cannot run, with what it lacks
 */
export async function benchRerank(options: RerankOptions) {
  const { vit, image_size, queue_size, device, precision, k } = options;
  const startedOn = machine();
  const folder = scratchFolder();
  const inputs = await drawInputs(folder, options, options.images, options.texts);
  const checkpoint = await checkpointOf(options, folder);
  const scoresOf = (name: string) => join(folder, `scores_${name}.safetensors`);
  const { versions, turns } = await alternate(folder, {
    ...options,
    load: { op: 'load', checkpoint, vit, image_size, queue_size, device, precision },
    command: (name) => ({ op: 'rerank', ...inputs, k, scores: scoresOf(name) }),
    answer: Reranked,
    told: ({ seconds }) => `${total(seconds).toFixed(1)} s`,
  });

  const pairs = (options.images + options.texts) * k; // the reference scores them one by one
  const scores = { own: readScores(scoresOf('own')), reference: readScores(scoresOf('reference')) };
  const pairOf = (direction: keyof Scores) => [scores.own[direction], scores.reference[direction]] as const;
  const report = (name: keyof typeof turns) => ({
    versions: versions[name],
    ...figures(turns[name], pairs),
    recalls: recallsOf(scores[name], options),
  });
  const [own, reference] = [report('own'), report('reference')];
  // Our pairs a second divided by the reference's.
  const ratio = (of: 'best' | 'median') => own.pairs_per_second[of] / reference.pairs_per_second[of];
  return {
    machine: startedOn,
    options,
    pairs,
    own,
    reference,
    ratio: { best: ratio('best'), median: ratio('median') },
    scores: compareScores(pairOf('i2t'), pairOf('t2i')),
    recalls_equal: JSON.stringify(own.recalls) === JSON.stringify(reference.recalls),
  };
}

/** CPU seconds are of all threads; `cpu_seconds` of the complete evaluation. */
function figures(turns: readonly Reranked[], pairs: number) {
  const rounds = turns.map(({ seconds }) => seconds);
  const perSecond = ({ min, median }: Summary) => ({ best: pairs / min, median: pairs / median });
  return {
    rounds,
    pairs_per_second: perSecond(summary(rounds.map(({ rerank }) => rerank))),
    pairs_per_cpu_second: perSecond(summary(rounds.map(({ rerank_cpu }) => rerank_cpu))),
    feature_seconds: summary(rounds.map(({ features }) => features)),
    total_seconds: summary(rounds.map(total)),
    cpu_seconds: summary(rounds.map(({ cpu }) => cpu)),
    ...peakMemory(turns.map(({ memory }) => memory)),
  };
}

/** Both directions' scores: (images, texts) and (texts, images). */
type Scores = ReturnType<typeof readScores>;

export function readScores(path: string) {
  const file = readSafetensors(path);
  const floats = (name: string) => new Float32Array(get(file, name).data.buffer);
  return { i2t: floats('i2t'), t2i: floats('t2i') };
}

/** Counted by our itmEval for both programs, so that only scores can make their recalls differ. */
function recallsOf({ i2t, t2i }: Scores, { images, texts }: RerankOptions) {
  const imageOfText = spreadTexts(texts, images);
  const textsOfImage = Array.from({ length: images }, (_, image) =>
    [...imageOfText.keys()].filter((text) => imageOfText[text] === image),
  );
  return itmEval(i2t, t2i, Int32Array.from(imageOfText), textsOfImage);
}
