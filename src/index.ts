// What the package gives to other programs: the model, its data and its evaluation, without the command line.
export type { LoadConfigOptions, RetrievalConfig } from './config/load.js';
export { loadRetrievalSplit, type RetrievalSplit, type RetrievalSplitOptions } from './data/annotations.js';
export { preCaption } from './data/caption.js';
export { type ImageBatch, ImageLoader, type ImageLoaderOptions } from './data/loader/loader.js';
export { Tokenizer } from './data/tokenizer.js';
export { fetchPretrained } from './download/download.js';
export { UserError } from './errors.js';
export { type EvaluationInput, type EvaluationOptions, evaluateSplit } from './evaluation/evaluate.js';
export { evaluateRetrieval, type RetrievalEvaluationOptions } from './evaluation/evaluate-retrieval.js';
export { type ImageSourceOptions, imageSource } from './evaluation/image-source.js';
export type { ImagePass, ImageSource } from './evaluation/image-store.js';
export { itmEval, type RetrievalMetrics } from './evaluation/recall.js';
export type { SplitScores } from './evaluation/rerank.js';
export { denseScores, type ScoreRows } from './evaluation/scores.js';
export { type Architecture, type ArchitectureConfig, architectureOf, loadConfig } from './model/architecture.js';
export { BlipRetrieval, type ModelOptions } from './model/blip-retrieval.js';
export { type LoadOptions, type LoadReport, loadPretrained } from './model/pretrained.js';
export { stateDictEntries } from './model/state-dict.js';
export {
  type Checkpoint,
  flattenCheckpoint,
  openCheckpoint,
  stateDictOf,
  type TensorRef,
} from './torch/checkpoint/index.js';
export { type CudaState, cudaState } from './torch/cuda.js';
export type { DType } from './torch/dtype.js';
export { manualSeed } from './torch/generator.js';
export * as ops from './torch/ops.js';
export type { Precision } from './torch/precision.js';
export { readSafetensors, writeSafetensors } from './torch/safetensors.js';
export { autocast, type Device, keep, liveHandles, noGrad, scope, Tensor } from './torch/tensor.js';
