// What the server needs of an open retriever and its index: Retriever and ImageIndex have it.
import type { Hit } from '../index/image-index.js';
import type { IndexedImage, IndexFacts } from '../index/store.js';
import type { Match } from '../retriever/retriever.js';

interface Call {
  signal?: AbortSignal | undefined;
}

export type SearchQuery = { text: string } | { vector: Float32Array } | { id: string };

export interface Searchable {
  readonly name: string;
  readonly facts: IndexFacts;
  readonly size: number;
  search(
    query: SearchQuery,
    options: Call & {
      top?: number | undefined;
      rerank?: number | undefined;
      filter?: ((image: IndexedImage) => boolean) | undefined;
    },
  ): Promise<Hit[]>;
  get(id: string): Promise<IndexedImage | undefined>;
}

export interface Embedder {
  readonly source: string;
  readonly device: string;
  readonly precision: string;
  readonly imageSize: number;
  readonly embedDim: number;
  readonly pending: number;
  embedImages(images: readonly Uint8Array[], options: Call): Promise<Float32Array[]>;
  embedTexts(texts: readonly string[], options: Call): Promise<Float32Array[]>;
  match(image: Uint8Array | string, texts: readonly string[], options: Call): Promise<Match[]>;
}

export interface Service {
  readonly index: Searchable;
  readonly model: Embedder;
}
