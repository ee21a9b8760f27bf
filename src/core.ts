// `blip-retrieval/core`, the parts that the Retriever and the commands are made of: data, model, evaluation, training, tensors.
export type { LoadConfigOptions, RetrievalConfig, TrainingConfig } from './config/load.js';
export { loadRetrievalSplit, type RetrievalSplit, type RetrievalSplitOptions } from './data/annotations.js';
export type { UnreadImage } from './data/bad-images.js';
export { preCaption } from './data/caption.js';
export { type DecodeOptions, decodeRgb, type RgbImage } from './data/images/decode.js';
export { evaluationTransform } from './data/images/evaluation-transform.js';
export { IMAGE_MEAN, IMAGE_STD } from './data/images/normalization.js';
export type { ImageTransform } from './data/images/transform.js';
export {
  type BadImage,
  type ImageBatch,
  ImageLoader,
  type ImageLoaderOptions,
  type LoaderBatch,
} from './data/loader/loader.js';
export { type TokenizedBatch, Tokenizer } from './data/tokenizer.js';
export { loadTrainingSet, type TrainingSet, type TrainingSetOptions } from './data/training-set.js';
export { type GradientSync, noSync } from './distributed/data-parallel.js';
export { oneRank, type Ranks } from './distributed/ranks.js';
export { fetchPretrained, type PretrainedFile, type PretrainedOptions } from './download/pretrained-file.js';
export { UserError } from './errors.js';
export { type EvaluationInput, type EvaluationOptions, evaluateSplit } from './evaluation/evaluate.js';
export { evaluateRetrieval, type RetrievalEvaluationOptions } from './evaluation/evaluate-retrieval.js';
export { type ImageSourceOptions, imageSource } from './evaluation/image-source.js';
export type { ImagePass, ImageSource } from './evaluation/image-store.js';
export { type ChanceLevel, itmEval, type RetrievalMetrics } from './evaluation/recall.js';
export { recallTable, type SplitReport } from './evaluation/report.js';
export type { SplitScores } from './evaluation/rerank.js';
export { denseScores, type ScoreRows } from './evaluation/scores.js';
export type { LoopLog } from './logging/metric-logger.js';
export {
  type Architecture,
  type ArchitectureConfig,
  architectureOf,
  type CheckpointSizes,
  loadConfig,
} from './model/architecture.js';
export { BlipRetrieval, type ModelOptions } from './model/blip-retrieval.js';
export { sizesOf } from './model/checkpoint-entries.js';
export { normalizeImages } from './model/normalize-images.js';
export { type PackedTexts, packTexts } from './model/packed-texts.js';
export {
  describeLoad,
  type LoadOptions,
  type LoadReport,
  loadPretrained,
  loadTrainingState,
} from './model/pretrained.js';
export { type StateDictEntry, stateDictEntries } from './model/state-dict.js';
export {
  type StepLosses,
  type TrainingBatch,
  TrainingModel,
  type TrainingModelOptions,
} from './model/training-model.js';
export { AdamW, type AdamWOptions } from './torch/adamw.js';
export {
  type Checkpoint,
  flattenCheckpoint,
  openCheckpoint,
  openTensorFile,
  stateDictOf,
  type TensorFile,
  type TensorRef,
} from './torch/checkpoint/index.js';
export { type CudaState, cudaState } from './torch/cuda.js';
export type { DType } from './torch/dtype.js';
export { manualSeed } from './torch/generator.js';
export * as ops from './torch/ops.js';
export type { Precision } from './torch/precision.js';
export { readSafetensors, readSafetensorsMetadata, type SafeTensor, writeSafetensors } from './torch/safetensors.js';
export { autocast, type Device, keep, liveHandles, noGrad, scope, Tensor } from './torch/tensor.js';
export type { RunOptions } from './training/options.js';
export type { Run } from './training/run.js';
export { initialState, type RunState } from './training/run-state.js';
export { type Outcome, type Trainer, train } from './training/train.js';
export { type LoadedBatch, type TrainingData, trainingData } from './training/training-data.js';
