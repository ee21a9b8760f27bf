// This program's side of `bench` without a reference: one piece of work, again and again.
import { at } from '../../errors.js';
import { chooseBudgets } from '../../evaluation/budgets.js';
import { matchImage } from '../../evaluation/rerank.js';
import { TextStore } from '../../evaluation/text-store.js';
import { uniqueTexts } from '../../evaluation/unique-texts.js';
import type { BlipRetrieval } from '../../model/blip-retrieval.js';
import { imagesFromBytes } from '../../model/normalize-images.js';
import { packTexts } from '../../model/packed-texts.js';
import * as ops from '../../torch/ops.js';
import { keep, scope, type Tensor } from '../../torch/tensor.js';
import type { Commands, Measure } from '../protocol.js';
import { drawImages } from '../workload.js';
import { cpuSeconds, loadedModel, peakMemory, tokenizer, tokensOf } from './work.js';

/** Features among which a query looks for the best: COCO's images, or as many of its texts as it has images. */
const SEARCHED = 5_000;
const BEST = 10;

interface Repeated {
  /** Images, texts or pairs of one time. */
  units: number;
  /** Once; it ends when its results are on the host, so no work of a GPU is left over. */
  run(time: number): void;
  dispose?(): void;
}

/** The work of one measurement. */
function workOf(model: BlipRetrieval, { what, captions, batch }: Commands['measure']): Repeated {
  const size = model.architecture.vision.imageSize;
  const pixels = (count: number) => Buffer.from(drawImages(count, size, 1));
  const encode = (bytes: Buffer, count: number) =>
    model.encodeImages(imagesFromBytes(bytes, count, size, model.device));
  const rows = tokensOf(captions);
  const works: Record<Measure, () => Repeated> = {
    images: () => {
      const bytes = pixels(batch);
      return { units: batch, run: () => void encode(bytes, batch).features.float32() };
    },
    texts: () => {
      const sorted = uniqueTexts(rows).rows;
      return {
        units: sorted.length,
        run: () => void model.encodeTexts(packTexts(sorted, model.device)).float32(),
      };
    },
    pairs: () => {
      const { tokens, stems } = chooseBudgets(model);
      const unique = uniqueTexts(rows);
      const store = TextStore.encode(model, unique, tokenizer.encTokenId, tokens, stems);
      const embeds = keep(scope(() => keep(ops.select(encode(pixels(1), 1).embeds, 0, 0))));
      const texts = Int32Array.from(unique.rows.keys());
      return {
        units: texts.length,
        run: () => void matchImage(model, store, embeds, texts, tokens).finishFloat32(),
        dispose: () => [store, embeds].forEach((kept) => void kept.dispose()),
      };
    },
    'text query': () => {
      const searched = drawnFeatures(model);
      return {
        units: 1,
        run: (time) => search(model.embedTexts([at(rows, time % rows.length)]), searched),
        dispose: () => searched.dispose(),
      };
    },
    'image query': () => {
      const searched = drawnFeatures(model);
      const bytes = pixels(1);
      return {
        units: 1,
        run: () => search(encode(bytes, 1).features, searched),
        dispose: () => searched.dispose(),
      };
    },
  };
  return works[what]();
}

const drawnFeatures = ({ architecture, device }: BlipRetrieval): Tensor =>
  scope(() => keep(ops.normalize(ops.to(ops.randn([SEARCHED, architecture.embedDim]), { device }), -1)));

/** Numbers of the best by similarity, on the host. */
function search(query: Tensor, searched: Tensor): void {
  const [, best] = ops.topk(ops.matmul(query, ops.transpose(searched, 0, 1)), BEST);
  ops.to(best, { dtype: 'int32' }).bytes();
}

/** Runs one kind of work for a while. @throws UserError before a model is loaded */
export function measure(command: Commands['measure']) {
  const model = loadedModel('measuring');
  const work = workOf(model, command);
  const once = (time: number): number => {
    const start = performance.now();
    scope(() => work.run(time));
    return (performance.now() - start) / 1e3;
  };
  try {
    once(0);
    const seconds: number[] = [];
    const [start, cpu] = [performance.now(), cpuSeconds()];
    while (seconds.length < command.least || performance.now() - start < 1e3 * command.seconds)
      seconds.push(once(seconds.length + 1));
    return { units: work.units, seconds, cpu: cpuSeconds() - cpu, memory: peakMemory(model.device) };
  } finally {
    work.dispose?.();
  }
}
