// What every index can do, wherever its rows lie: in a folder (folder-store.ts) or in PostgreSQL (postgres/).
// A feature is a unit vector of 256 float32 (E); similarity is its dot product with another (ITC), from -1 to 1.

/** An image of an index. */
export interface IndexedImage {
  /** Of a folder's images: the path inside the folder, with `/`. Of others: as given, by default the absolute path. */
  readonly id: string;
  /** Where the file is. Undefined for an image that was given as bytes. */
  readonly path?: string | undefined;
  /** Bytes of the file. */
  readonly size?: number | undefined;
  /** When the file was last modified, in milliseconds since 1970. */
  readonly modified?: number | undefined;
  /** SHA-256 of the file's bytes, hexadecimal. */
  readonly digest: string;
}

/** An image with what the model made of it. */
export interface EmbeddedImage extends IndexedImage {
  readonly feature: Float32Array; // (E)
  /** Image tokens (L, V) in bfloat16, row-major, where the index keeps them. */
  readonly tokens?: Uint8Array | undefined;
}

/** What an index is of: it answers only to the same. */
export interface IndexFacts {
  /** Of the weights: equal for one model in another file format. */
  readonly fingerprint: string;
  /** What the checkpoint was opened by, for messages. */
  readonly source: string;
  /** Side of the square that each image became, in pixels. */
  readonly imageSize: number;
  readonly embedDim: number;
  /** The folder that `sync` compares with; undefined where the images come from elsewhere. */
  readonly folder?: string | undefined;
  /** Patterns of the files of `folder` that belong to the index; all images where undefined. */
  readonly include?: readonly string[] | undefined;
  readonly keepsTokens: boolean;
}

export interface Neighbour {
  readonly id: string;
  readonly similarity: number;
  /** The image itself, where the store has it at hand; else it is asked for by `get`. */
  readonly image?: IndexedImage | undefined;
}

export interface NearestOptions {
  /** Rows for which it returns false are left out. Of an index in PostgreSQL: `where`, in SQL, instead. */
  filter?: ((image: IndexedImage) => boolean) | undefined;
  where?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** The rows of an index. Readers never wait for writers; each change is whole or absent, whatever kills its writer. */
export interface IndexStore {
  readonly facts: IndexFacts;
  /** The folder or the address, without a password, for messages. */
  readonly name: string;
  /** Images now. */
  count(): Promise<number>;
  /** All images, in no fixed order. */
  images(signal?: AbortSignal): AsyncIterable<IndexedImage>;
  /** The images of these ids, undefined in place of those that are not here. */
  get(ids: readonly string[]): Promise<(IndexedImage | undefined)[]>;
  /** The features of these ids. */
  features(ids: readonly string[]): Promise<(Float32Array | undefined)[]>;
  /** The kept tokens of an image; undefined where there are none. */
  tokens(id: string): Promise<Uint8Array | undefined>;
  /** Adds images at once; those of ids that are here are replaced. */
  append(images: readonly EmbeddedImage[]): Promise<void>;
  /** @returns how many of these ids were here */
  remove(ids: readonly string[]): Promise<number>;
  /** The `k` images most similar to `query` (E), best first; equal ones by id. */
  nearest(query: Float32Array, k: number, options?: NearestOptions): Promise<Neighbour[]>;
  /** Sees what other writers have committed since. */
  refresh(): Promise<void>;
  /** Joins segments and forgets what was removed. */
  compact(): Promise<void>;
  close(): Promise<void>;
}
