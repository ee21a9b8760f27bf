// `bench rerank`: the same evaluation by this program and by what it is measured against, alternately, in one run.
import { join } from 'node:path';
import { get } from '../errors.js';
import { itmEval } from '../evaluation/recall.js';
import { membersByGroup } from '../model/offsets.js';
import { readSafetensors } from '../torch/safetensors.js';
import { begin, type ModelOptions } from './harness.js';
import { type PhaseSeconds, Reranked } from './protocol.js';
import { alternate, both, type ComparisonOptions, loadCommands } from './rivals.js';
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
  const { images, texts, k } = options;
  const { machine, folder } = begin();
  const inputs = await drawInputs(folder, options, images, texts);
  const scoresOf = (name: string) => join(folder, `scores_${name}.safetensors`);
  const { versions, turns } = await alternate(folder, {
    ...options,
    load: await loadCommands(options, folder),
    command: (name) => ({ op: 'rerank', ...inputs, k, scores: scoresOf(name) }),
    answer: Reranked,
    told: ({ seconds }) => `${total(seconds).toFixed(1)} s`,
  });

  const pairs = (images + texts) * k; // as the reference counts: one of both directions is two
  const perSecond = ({ min, median }: Summary) => ({ best: pairs / min, median: pairs / median });
  const scores = both((name) => readScores(scoresOf(name)));
  /** CPU seconds are of all threads; `cpu_seconds` of the complete evaluation. */
  const { own, reference } = both((name) => {
    const rounds = turns[name].map(({ seconds }) => seconds);
    const of = (part: (seconds: PhaseSeconds) => number) => summary(rounds.map(part));
    return {
      versions: versions[name],
      rounds,
      pairs_per_second: perSecond(of(({ rerank }) => rerank)),
      pairs_per_cpu_second: perSecond(of(({ rerank_cpu }) => rerank_cpu)),
      feature_seconds: of(({ features }) => features),
      total_seconds: of(total),
      cpu_seconds: of(({ cpu }) => cpu),
      feature_cpu_seconds: of(({ cpu, rerank_cpu }) => cpu - rerank_cpu),
      rerank_cpu_seconds: of(({ rerank_cpu }) => rerank_cpu),
      ...peakMemory(turns[name].map(({ memory }) => memory)),
      recalls: recallsOf(scores[name], options),
    };
  });
  // Our pairs a second divided by the other's.
  const ratio = (of: 'best' | 'median') => own.pairs_per_second[of] / reference.pairs_per_second[of];
  const pairOf = (direction: keyof Scores) => [scores.own[direction], scores.reference[direction]] as const;
  return {
    machine,
    options,
    pairs,
    own,
    reference,
    ratio: { best: ratio('best'), median: ratio('median') },
    scores: compareScores(pairOf('i2t'), pairOf('t2i')),
    recalls_equal: JSON.stringify(own.recalls) === JSON.stringify(reference.recalls),
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
  const imageOfText = Int32Array.from(spreadTexts(texts, images));
  const textsOfImage = membersByGroup(imageOfText, images).map((members) => [...members]);
  return itmEval(i2t, t2i, imageOfText, textsOfImage);
}
