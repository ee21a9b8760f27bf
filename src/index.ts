// What `blip-retrieval` exports: the Retriever. `blip-retrieval/core` (core.ts) has the parts it is made of.
export { UserError } from './errors.js';
export type { BadImage, OnBadImage } from './index/bad-image.js';
export type { ImageInput } from './index/encoder.js';
export type { ChangeReport, Hit, ImageIndex, NamedImage } from './index/image-index.js';
export type { ChangeOptions, Query, SearchOptions } from './index/options.js';
export type { IndexedImage, IndexFacts } from './index/store.js';
export type { SyncReport } from './index/sync.js';
export type { CreateIndexOptions } from './retriever/indexes.js';
export type { CallOptions, ListOptions, RetrieverOptions } from './retriever/options.js';
export { type Match, Retriever } from './retriever/retriever.js';
export type { Precision } from './torch/precision.js';
export type { Device } from './torch/tensor.js';
