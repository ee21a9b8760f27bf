// The retrieval model in training: parameters, momentum copies and queues, and the two losses of one batch.
// Source: BLIP_Retrieval.forward. Shapes: B batch, W candidates of all ranks, L image tokens of width V, E = 256.
import { MAX_LENGTH } from '../data/tokenizer.js';
import { oneRank, type Ranks } from '../distributed/ranks.js';
import { freeMemory } from '../torch/device-memory.js';
import { Linear, weight } from '../torch/nn.js';
import * as ops from '../torch/ops.js';
import type { Precision } from '../torch/precision.js';
import { autocast, type Device, keep, noGrad, scope, type Tensor } from '../torch/tensor.js';
import { upload } from '../torch/transfer.js';
import type { Architecture } from './architecture.js';
import { BlipRetrieval } from './blip-retrieval.js';
import { itmPairs } from './itm-pairs.js';
import { contrastiveLoss, matchAccuracy, matchingLoss } from './losses.js';
import { drawNegatives, type NegativeInput, type Negatives } from './negatives.js';
import { range } from './offsets.js';
import { attentionFor } from './packed-attention.js';
import { layOutTexts, type PackedTexts, packedTexts, sortByLength } from './packed-texts.js';
import { FeatureQueues } from './queues.js';
import { sparesRecomputation } from './recomputation.js';
import { isBuffer, isEvaluated, isTrained, momentumTwin, stateDictEntries } from './state-dict.js';
import { TextEncoder } from './text-encoder.js';
import { VisionTransformer } from './vision-transformer.js';

const MOMENTUM = 0.995;
const TEMPERATURE_RANGE = [0.001, 0.5] as const;

/** One batch of one rank. */
export interface TrainingBatch {
  images: Tensor; // (B, 3, P, P) normalised, on the device
  /** Token rows [CLS] … [SEP] without padding. */
  texts: readonly Int32Array[];
  /** Number of each row's image, in order of first appearance in the training file. */
  idx: readonly number[];
}

export interface TrainingModelOptions {
  device?: Device;
  /** Candidates for negatives come from all ranks instead of this one alone; off by default. */
  negativeAllRank?: boolean;
  /**
   * Last blocks of the vision encoder that recompute their activations in the backward pass; none by default. On a CPU with
   * memory to spare they keep them instead, for the same results in less time.
   */
  checkpointedBlocks?: number;
  /** Whether these blocks recompute on a CPU, whatever its memory: a dry run's, as they will in the run. */
  recompute?: boolean | undefined;
  /** Bytes that the device could still allocate; replaced in tests. */
  freeMemory?: (device: Device) => number;
  /** Id of [ENC]. */
  encToken: number;
  /** The ranks that train together; one when left out. */
  ranks?: Ranks;
  /** Tokens that a caption has at most, the same on all ranks; the tokenizer's by default. */
  maxTextLength?: number;
  /** bf16: the encoders run under autocast; losses, weights and optimizer stay float32. */
  precision?: Precision;
  /** Draws the negatives; replaced in tests by recorded ones. */
  chooseNegatives?: (input: NegativeInput) => Negatives;
}

export interface StepLosses {
  ita: Tensor; // []
  itm: Tensor; // []
  /** Rows without a negative: every candidate shows the same image. */
  withoutNegative: number;
  /** Runs the backward pass of (ita + itm) · scale, recomputed blocks included. */
  backward(scale?: number): void;
  /** What a log shows beside the losses, computed by this call. Call it before the update, in the scope of `forward`. */
  measures(): StepMeasures;
}

/** Two float32 numbers of a step, [] each. */
export interface StepMeasures {
  temperature: Tensor;
  /** Share of the pairs whose match the ITM head tells rightly. */
  itmAccuracy: Tensor;
}

/** What the host knows of a batch, on the device. */
interface SentBatch {
  texts: PackedTexts;
  rowOf: Tensor; // int32 (B): where each row's text stands among the packed ones
  idx: Tensor; // int64 (B)
}

interface Encoders {
  vision: VisionTransformer;
  text: TextEncoder;
  visionProj: Linear;
  textProj: Linear;
}

export class TrainingModel {
  readonly architecture: Architecture;
  readonly device: Device;
  /** Every entry of the state dict, on the device, in the reference's order. */
  readonly state: ReadonlyMap<string, Tensor>;
  /** What the optimizer changes, by name, in the reference's order. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly queues: FeatureQueues;
  readonly #momentum: Tensor[] = [];
  readonly #momentumOf: Tensor[] = []; // the online twin of each
  readonly #online: Encoders;
  readonly #momentumEncoders: Encoders;
  readonly #itmHead: Linear;
  readonly #temperature: Tensor;
  readonly #options: TrainingModelOptions;

  /** `state` has every entry of the model, float32 or int64 (see stateDictEntries); its tensors are copied. */
  constructor(state: ReadonlyMap<string, Tensor>, architecture: Architecture, options: TrainingModelOptions) {
    this.architecture = architecture;
    this.device = options.device ?? 'cpu';
    this.#options = options;
    const own = new Map<string, Tensor>();
    for (const [name] of stateDictEntries(architecture)) {
      const tensor = scope(() => ops.clone(ops.to(weight(state, name), { device: this.device })));
      own.set(name, keep(tensor));
    }
    this.state = own;
    this.parameters = new Map([...own].filter(([name]) => isTrained(name)));
    for (const parameter of this.parameters.values()) parameter.requiresGrad = true;
    for (const [name, copy] of own) {
      const twin = momentumTwin(name);
      if (twin === undefined || isBuffer(name)) continue;
      this.#momentum.push(copy);
      this.#momentumOf.push(weight(own, twin));
    }
    const queue = (name: string) => weight(own, name);
    this.queues = new FeatureQueues(queue('image_queue'), queue('text_queue'), queue('idx_queue'), queue('ptr_queue'));
    this.#temperature = weight(own, 'temp');
    this.#itmHead = Linear.of(own, 'itm_head');
    const dtype = options.precision === 'bf16' ? 'bfloat16' : 'float32';
    const attend = attentionFor(architecture.text, this.device, dtype, { gradients: true });
    const encoders = (suffix: '' | '_m'): Encoders => {
      const vision = new VisionTransformer(own, architecture.vision, { prefix: `visual_encoder${suffix}` });
      const text = new TextEncoder(own, architecture.text, { prefix: `text_encoder${suffix}` });
      vision.training = true;
      const { hiddenDropout, attentionDropout } = architecture.text;
      text.mode = { attend, hiddenDropout, attentionDropout };
      return {
        vision,
        text,
        visionProj: Linear.of(own, `vision_proj${suffix}`),
        textProj: Linear.of(own, `text_proj${suffix}`),
      };
    };
    this.#online = encoders('');
    this.#momentumEncoders = encoders('_m');
  }

  /** Runs an encoder in the chosen precision. */
  #encode<T>(body: () => T): T {
    return this.#options.precision === 'bf16' ? autocast(this.device, 'bfloat16', body) : body();
  }

  /** How many blocks recompute in a step of B images: the same on all ranks, whose gradients must come in the same order. */
  #recomputedBlocks(images: number): number {
    const { checkpointedBlocks = 0, ranks = oneRank, precision = 'fp32', recompute } = this.#options;
    const { architecture, device } = this;
    if (checkpointedBlocks === 0 || device !== 'cpu') return checkpointedBlocks;
    if (recompute !== undefined) return recompute ? checkpointedBlocks : 0;
    const free = (this.#options.freeMemory ?? freeMemory)(device);
    const setting = { architecture, precision, device, checkpointedBlocks, ranks: ranks.worldSize, images };
    return ranks.any(!sparesRecomputation(setting, free)) ? checkpointedBlocks : 0;
  }

  /** Texts and idx of a batch, in one upload. */
  #send({ texts, idx }: TrainingBatch): SentBatch {
    const { sorted, rowOf } = sortByLength(texts);
    const { layout, arrays } = layOutTexts(sorted);
    const sent = upload(this.device, { ...arrays, rowOf, idx: BigInt64Array.from(idx, BigInt) });
    return { texts: packedTexts(layout, sent), rowOf: sent.rowOf, idx: sent.idx };
  }

  /** The batch's texts → unit features (B, E), in the batch's order. */
  #textFeatures({ text, textProj }: Encoders, { texts, rowOf }: SentBatch): Tensor {
    return scope(() => {
      const hidden = this.#encode(() => text.forwardTexts(texts));
      const first = ops.to(ops.indexSelect(hidden, 0, rowOf), { dtype: 'float32' });
      return ops.normalize(textProj.forward(first), -1);
    });
  }

  /** Image tokens (B, L, V) → unit features (B, E). */
  #imageFeatures({ visionProj }: Encoders, embeds: Tensor): Tensor {
    return scope(() => ops.normalize(visionProj.forward(ops.to(ops.select(embeds, 1, 0), { dtype: 'float32' })), -1));
  }

  /** Momentum copies move towards the parameters, then give the batch's target features, (B, E) each. */
  #momentumFeatures(images: Tensor, sent: SentBatch): { images: Tensor; texts: Tensor } {
    return noGrad(() =>
      scope(() => {
        ops.movingAverageInPlace(this.#momentum, this.#momentumOf, MOMENTUM);
        const encoders = this.#momentumEncoders;
        const embeds = this.#encode(() => encoders.vision.forwardClass(images)); // (B, 1, V)
        return {
          images: this.#imageFeatures(encoders, embeds),
          texts: this.#textFeatures(encoders, sent),
        };
      }),
    );
  }

  /**
   * Losses of one batch; updates momentum copies and queues. `alpha` is the share of soft targets. Call inside a scope,
   * and `backward` of the result before it ends. Uploads twice, and waits for the device once, for the negatives.
   */
  forward(batch: TrainingBatch, alpha: number): StepLosses {
    const { negativeAllRank = false, encToken } = this.#options;
    const { ranks = oneRank, maxTextLength = MAX_LENGTH } = this.#options;
    const temperature = this.#temperature;
    noGrad(() => ops.clampInPlace(temperature, ...TEMPERATURE_RANGE));

    const sent = this.#send(batch);
    const { idx } = sent;

    // ---- features of the online model
    const { vision } = this.#online;
    const checkpointedBlocks = this.#recomputedBlocks(batch.images.size(0));
    const encoded = this.#encode(() =>
      checkpointedBlocks > 0
        ? vision.forwardCheckpointed(batch.images, checkpointedBlocks)
        : { embeds: vision.forward(batch.images), backward: () => {} },
    );
    const { embeds } = encoded;
    const imageFeatures = this.#imageFeatures(this.#online, embeds);
    const textFeatures = this.#textFeatures(this.#online, sent);

    // ---- contrastive loss against the momentum features of the batch and the queues
    const momentum = this.#momentumFeatures(batch.images, sent);
    const beside = (features: Tensor, queue: Tensor) => ops.cat([ops.transpose(features, 0, 1), queue], 1);
    const ita = contrastiveLoss({
      imageFeatures,
      textFeatures,
      imageMomentum: momentum.images,
      textMomentum: momentum.texts,
      allImages: beside(momentum.images, this.queues.images),
      allTexts: beside(momentum.texts, this.queues.texts),
      idx,
      allIdx: ops.cat([ops.reshape(idx, [1, -1]), this.queues.idx], 1),
      temperature,
      alpha,
    });
    const allIdx = ranks.allGather(idx);
    this.queues.enqueue(ranks.allGather(momentum.images), ranks.allGather(momentum.texts), allIdx);

    // ---- matching loss of the batch's pairs and hard negatives
    const candidates = negativeAllRank ? ranks : oneRank;
    const negatives = (this.#options.chooseNegatives ?? drawNegatives)({
      imageFeatures,
      textFeatures,
      allImageFeatures: candidates.allGather(imageFeatures),
      allTextFeatures: candidates.allGather(textFeatures),
      idx,
      allIdx: negativeAllRank ? allIdx : idx,
      temperature,
    });
    const allEmbeds = candidates.allGatherWithGradient(embeds); // (W, L, V)
    const texts = candidates.gatherTexts(batch.texts, maxTextLength);
    const offset = candidates.rank * batch.texts.length;
    // Keys and values are computed for the distinct images that occur, not for every pair.
    const own = range(offset, offset + batch.texts.length);
    const used = [...new Set([...own, ...negatives.imageOfText])].filter((image) => image >= 0);
    const imageSlot = new Map(used.map((image, slot) => [image, slot]));
    const inOrder = used.length === allEmbeds.size(0) && used.every((image, slot) => image === slot);
    const pairs = itmPairs(texts, offset, negatives, imageSlot, encToken, this.device);
    const images = inOrder ? allEmbeds : ops.indexSelect(allEmbeds, 0, pairs.images);
    const { text } = this.#online;
    const hidden = this.#encode(() =>
      text.forwardPairs(text.stem(pairs.texts), pairs.texts.packing, {
        keysValues: text.imageKeysValues(images),
        rows: pairs.rows,
        firstRows: pairs.firstRows,
      }),
    );
    const logits = this.#itmHead.forward(ops.to(hidden, { dtype: 'float32' })); // (n, 2)
    const itm = matchingLoss(logits, pairs.labels);

    return {
      ita,
      itm,
      withoutNegative: pairs.withoutNegative,
      backward: (scale = 1) => {
        scope(() => {
          const loss = ops.add(ita, itm);
          (scale === 1 ? loss : ops.mul(loss, scale)).backward();
        });
        this.#encode(() => encoded.backward());
      },
      measures: () =>
        noGrad(() => ({ temperature: ops.clone(temperature), itmAccuracy: matchAccuracy(logits, pairs.labels) })),
    };
  }

  /** The online model as evaluation uses it, sharing weights where the precision allows. The caller disposes it. */
  evaluated(): BlipRetrieval {
    const online = new Map([...this.state].filter(([name]) => isEvaluated(name)));
    const { precision = 'fp32' } = this.#options;
    return new BlipRetrieval(online, this.architecture, { device: this.device, precision });
  }

  dispose(): void {
    for (const tensor of this.state.values()) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
