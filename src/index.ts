// What `blip-retrieval` exports: the Retriever. `blip-retrieval/core` (core.ts) has the parts it is made of.
export { UserError } from './errors.js';
export type { ImageInput } from './retriever/image-input.js';
export type { CallOptions, ListOptions, RetrieverOptions } from './retriever/options.js';
export { type Match, Retriever } from './retriever/retriever.js';
export type { Precision } from './torch/precision.js';
export type { Device } from './torch/tensor.js';
