// The ranks of a run of several processes, over c10d. On the CPU every call blocks until this rank's part is done: the event
// loop stands still meanwhile. On GPUs the exchange is queued behind what they compute, and who reads its result waits.
import type { UserError } from '../errors.js';
import { counted } from '../logging/text.js';
import { native } from '../torch/native.js';
import * as ops from '../torch/ops.js';
import { type Device, scope, Tensor } from '../torch/tensor.js';
import { announcementOf, differentDevices } from './announcement.js';
import { DataParallel, type GradientSync } from './data-parallel.js';
import { collectiveFailure, meetingFailure, waitingLine } from './failures.js';
import { openNccl } from './nccl.js';
import { endWithLauncher } from './parent.js';
import type { Rank } from './rank.js';
import type { Ranks } from './ranks.js';

export interface GroupOptions extends Rank {
  /** How long the ranks wait for each other at the start; by default torch.distributed's 5 minutes. */
  joinTimeoutMs?: number;
  /** How long a collective may take; by default torch.distributed's 30 minutes. */
  timeoutMs?: number;
  /** Is told for whom this rank is going to wait, unless all ranks are started together on this machine. */
  say?: (line: string) => void;
  /** Where the tensors are ('cpu' by default); a GPU adds NCCL. */
  device?: Device;
}

const MINUTE = 60_000;
/** How long a rank that must not go on waits for the others to read why not. */
const READING_MS = 5_000;

/** Whether an address is this machine's own, so that all ranks are on this machine. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** A process group over Gloo, and NCCL for tensors on GPUs: Python ranks with the same address can be in it. */
export class ProcessGroup implements Ranks {
  readonly rank: number;
  readonly worldSize: number;
  readonly timeoutMs: number;
  readonly #id: number;

  private constructor(id: number, { rank, worldSize }: Rank, timeoutMs: number) {
    this.#id = id;
    this.rank = rank;
    this.worldSize = worldSize;
    this.timeoutMs = timeoutMs;
  }

  /**
   * Meets the other ranks at masterAddr:masterPort, where rank 0 listens (or torchrun's agent does). Blocks until all
   * have come. @throws UserError: port in use, no rank 0, ranks missing, some on GPUs and some not
   */
  static init(options: GroupOptions): ProcessGroup {
    const { joinTimeoutMs = 5 * MINUTE, timeoutMs = 30 * MINUTE, device = 'cpu', say, ...place } = options;
    const { rank, worldSize, masterAddr, masterPort, agentStore, restarts } = place;
    endWithLauncher();
    const gpu = device !== 'cpu';
    if (gpu) openNccl(); // before the ranks wait for each other: what it says is no matter of theirs
    // An agent's store may outlive the ranks: what they left there must not be found by those that come after.
    const prefix = agentStore && restarts > 0 ? `/worker/attempt_${restarts}` : '';
    const server = rank === 0 && !agentStore;
    const loopback = isLoopback(masterAddr);
    if (place.localWorldSize !== worldSize) say?.(waitingLine(place, joinTimeoutMs));
    let group: ProcessGroup;
    let defect: UserError | undefined;
    try {
      const id = native().initProcessGroup(
        masterAddr,
        masterPort,
        rank,
        worldSize,
        server,
        prefix,
        loopback,
        joinTimeoutMs,
        timeoutMs,
        announcementOf(device),
      );
      group = new ProcessGroup(id, place, timeoutMs);
      defect = differentDevices(native().announcements(id));
      if (gpu && defect === undefined) native().addNccl(id, timeoutMs);
    } catch (error) {
      throw meetingFailure(error, place, joinTimeoutMs);
    }
    if (defect === undefined) return group;
    group.destroy(READING_MS);
    throw defect;
  }

  /** The number by which the addon knows the group. */
  get id(): number {
    return this.#id;
  }

  /** Runs a step that waits for other ranks; `operation` names it where they do not come. */
  run<T>(operation: string, body: () => T): T {
    try {
      return body();
    } catch (error) {
      throw collectiveFailure(error, operation, this.rank, this.timeoutMs);
    }
  }

  /** x becomes the sum (or greatest, least) of all ranks' x, element by element. */
  allReduce(x: Tensor, op: 'sum' | 'max' | 'min' = 'sum'): void {
    this.run('all_reduce', () => native().allReduce(this.#id, x.handle, op));
  }

  sum(values: Float32Array): Float32Array {
    return scope(() => {
      const total = ops.float32(values);
      this.allReduce(total);
      return total.float32();
    });
  }

  any(flag: boolean): boolean {
    return scope(() => {
      const asked = ops.int64([flag ? 1 : 0]);
      this.allReduce(asked, 'max');
      return asked.item() === 1;
    });
  }

  broadcast(x: Tensor, root = 0): void {
    this.run('broadcast', () => native().broadcast(this.#id, x.handle, root));
  }

  allGather(x: Tensor): Tensor {
    return this.run('all_gather', () => new Tensor(native().allGather(this.#id, x.handle, false)));
  }

  allGatherWithGradient(x: Tensor): Tensor {
    return this.run('all_gather', () => new Tensor(native().allGather(this.#id, x.handle, true)));
  }

  gatherRows(x: Tensor): Tensor {
    return scope(() => {
      const counts = this.gatherValues(x.size(0));
      const most = Math.max(...counts);
      const missing = most - x.size(0);
      const padding = () => ops.zeros([missing, ...x.shape.slice(1)], { device: x.device });
      const all = this.allGather(missing > 0 ? ops.cat([x, padding()]) : ops.contiguous(x));
      return ops.cat(counts.map((count, rank) => ops.slice(all, 0, rank * most, rank * most + count)));
    });
  }

  gatherBytes(bytes: Uint8Array): Uint8Array[] {
    return scope(() => {
      const sizes = this.allGather(ops.int64([bytes.length])).integers();
      const most = Math.max(1, ...sizes);
      const padded = new Uint8Array(most);
      padded.set(bytes);
      const all = this.allGather(ops.fromBytes(padded, 'uint8', [most])).bytes();
      return sizes.map((size, rank) => all.slice(rank * most, rank * most + size));
    });
  }

  gatherValues<T>(value: T): T[] {
    const texts = this.gatherBytes(new TextEncoder().encode(JSON.stringify(value)));
    return texts.map((text) => JSON.parse(new TextDecoder().decode(text)));
  }

  gatherTexts(texts: readonly Int32Array[], maxLength: number): Int32Array[] {
    const width = maxLength + 1; // the row's length, then the row
    const rows = new Int32Array(texts.length * width);
    texts.forEach((text, row) => {
      if (text.length > maxLength)
        throw new RangeError(`Expected at most ${counted(maxLength, 'token')} for a row but received ${text.length}`);
      rows.set([text.length, ...text], row * width);
    });
    return scope(() => {
      const bytes = this.allGather(ops.fromBytes(new Uint8Array(rows.buffer), 'int32', [texts.length, width])).bytes();
      const all = new Int32Array(bytes.buffer);
      return Array.from({ length: all.length / width }, (_, row) => {
        const [length, ...ids] = all.subarray(row * width, (row + 1) * width);
        return Int32Array.from(ids.slice(0, length));
      });
    });
  }

  /** Waits until all ranks are here. */
  barrier(): void {
    this.run('barrier', () => native().barrier(this.#id));
  }

  syncGradients(parameters: readonly Tensor[], buffers: readonly Tensor[]): GradientSync {
    return new DataParallel(parameters, buffers, this);
  }

  destroy(patienceMs = this.timeoutMs): void {
    native().destroyProcessGroup(this.#id, patienceMs);
  }
}
