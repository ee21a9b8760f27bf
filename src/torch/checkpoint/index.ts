// The door to checkpoint files: opening, looking into and writing what torch.save writes, without running anything.
export { type FlatCheckpoint, flattenCheckpoint } from './inspect/flatten.js';
export { stateDictOf, type Weights, wayOut, weightsOf } from './inspect/state-dict.js';
export { tensorSums } from './inspect/sums.js';
export { openCheckpoint, type Sharers, verifyStorages } from './read/open.js';
export { openTensorFile, TensorFile } from './tensor-file.js';
export {
  byteOffset,
  type Checkpoint,
  isRef,
  isTensorRef,
  type OpaqueRef,
  type PickleScalar,
  type PickleValue,
  type StorageRef,
  type TensorRef,
} from './types.js';
export { float, tuple, type WritableTensor, type WritableValue } from './write/pickler.js';
export { writeCheckpoint } from './write/save.js';
