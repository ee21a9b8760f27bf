// The exports of torch.node as TypeScript sees them, in the order of native/exports.h.

/** A number that names a tensor, generator or event of the addon; see native/handles.h. */
export type Handle = number;

/** What an operator returns: one value, several, or null. */
export type NativeResult = number | bigint | boolean | string | null | NativeResult[];

export interface Native {
  /** `returns`: types of the results that are returned; not of those written into an argument. */
  resolve(name: string, overload: string): { id: number; arguments: string[]; returns: string[] };
  invoke(operator: number, ...values: readonly unknown[]): NativeResult;
  linear(x: Handle, weight: Handle, bias: Handle, gelu: boolean, residual?: Handle): Handle;
  packLinear(weight: Handle): Handle;
  attendPacked(q: Handle, k: Handle, v: Handle, queryEnds: Handle, tokenEnds: Handle): Handle;
  attend(q: Handle, k: Handle, v: Handle): Handle;

  /** Reports to V8 the memory of a tensor that only its GC will dispose of; returns all bytes reported so far. */
  trackExternal(handle: Handle): number;
  dispose(handle: Handle): boolean;
  disposeAll(handles: readonly Handle[]): number;
  liveHandles(): number;
  isLive(handle: Handle): boolean;

  sizes(tensor: Handle): number[];
  strides(tensor: Handle): number[];
  dtype(tensor: Handle): number;
  device(tensor: Handle): string;
  /** A second handle of the tensor, for another thread: a worker's other handles end with the worker. */
  alias(tensor: Handle): Handle;
  item(tensor: Handle): number | boolean | bigint;
  /** Copies the bytes into a contiguous tensor on the CPU. */
  writeBytes(tensor: Handle, source: Uint8Array): void;
  toBytes(tensor: Handle, destination: Uint8Array): void;
  /** A tensor over the memory of a uint8 tensor of one dimension. */
  viewBytes(
    bytes: Handle,
    byteOffset: number,
    dtype: number,
    sizes: readonly number[],
    strides: readonly number[],
  ): Handle;
  /** An event after all work that is queued on a GPU by now. */
  recordEvent(device: string): Handle;
  waitFor(event: Handle): void;
  requiresGrad(tensor: Handle): boolean;
  setRequiresGrad(tensor: Handle, flag: boolean): void;
  grad(tensor: Handle): Handle | null;
  clearGrad(tensor: Handle): void;
  backward(tensor: Handle, retainGraph: boolean): void;

  manualSeed(seed: number | bigint): void;
  createGenerator(seed: number | bigint): Handle;
  defaultGenerator(device: string): Handle;
  generatorState(generator: Handle): Handle;
  setGeneratorState(generator: Handle, state: Handle): void;
  seedGenerator(generator: Handle, seed: number | bigint): void;
  setGradEnabled(flag: boolean): boolean;
  enterAutocast(device: string, dtype: number): void;
  leaveAutocast(): void;
  setTf32(allowed: boolean): void;
  /** Whether float32 matrix products and convolutions on CUDA may use TF32. */
  tf32(): { matmul: boolean; convolution: boolean };
  getThreads(): number;
  setThreads(threads: number): void;
  version(): { built: string; cudaLibrary: boolean; cuda: boolean };
  deviceCount(): number;
  /** LibTorch's own words for why it can use no GPU; null where it can, and where its CUDA part is not open. */
  whyNoGpu(): string | null;
  deviceName(index: number): string | null;
  /** Compute capability, major and minor, of a GPU; null where the driver does not say. */
  deviceCapability(index: number): [major: number, minor: number] | null;
  setDevice(index: number): void;
  synchronize(index: number): void;
  deviceMemory(index: number): {
    free: number;
    total: number;
    allocated: number;
    reserved: number;
    peakAllocated: number;
    peakReserved: number;
  };
  resetPeakMemory(index: number): void;

  /** Gives unused pages of the heap back to the system. */
  trimHeap(): void;
  /** Takes the lock of an open file; false when another holds it, null where the file system has none. */
  lockFile(descriptor: number): boolean | null;
  /** Makes the kernel kill this process when its parent ends; false when the parent is no longer `pid`. */
  dieWithParent(pid: number): boolean;

  /** Opens NCCL's part of the addon; null on success, else why it cannot be used. */
  openNccl(path: string): string | null;
  /** A process group's number; see native/distributed.cc, also for what follows. */
  initProcessGroup(
    host: string,
    port: number,
    rank: number,
    worldSize: number,
    server: boolean,
    prefix: string,
    loopback: boolean,
    joinTimeoutMs: number,
    timeoutMs: number,
    announcement: string,
  ): number;
  /** What each rank has announced; null of ranks that are not of this program. */
  announcements(group: number): (string | null)[];
  /** The backend for tensors on GPUs, after openNccl. */
  addNccl(group: number, timeoutMs: number): void;
  destroyProcessGroup(group: number, patienceMs: number): void;
  allReduce(group: number, tensor: Handle, op: 'sum' | 'max' | 'min'): void;
  broadcast(group: number, tensor: Handle, root: number): void;
  allGather(group: number, tensor: Handle, gradient: boolean): Handle;
  barrier(group: number): void;
  /** At the end of the process: aborts what is left of NCCL, and keeps the exit code. */
  endNcclAtExit(): void;
  createReducer(group: number, parameters: readonly Handle[], buffers: readonly Handle[], bucketBytes: number): number;
  reducerForward(reducer: number): void;
  reducerBackward(reducer: number): void;
  destroyReducer(reducer: number): void;
}
