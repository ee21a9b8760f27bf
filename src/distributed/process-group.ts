// The ranks of a run and what they do together. Every call blocks until this rank's part is done: the event loop
// stands still meanwhile. All ranks must make the same calls in the same order.
import { existsSync } from 'node:fs';
import { UserError } from '../errors.js';
import { addonFilesIn, buildFolder, findAddon } from '../libtorch/addon-files.js';
import { native } from '../torch/native.js';
import * as ops from '../torch/ops.js';
import { type Device, scope, Tensor } from '../torch/tensor.js';
import { collectiveFailure, meetingFailure } from './failures.js';
import type { Rank } from './rank.js';

export interface GroupOptions extends Rank {
  /** How long the ranks wait for each other at the start; torch.distributed's 5 minutes when left out. */
  joinTimeoutMs?: number;
  /** How long a collective may take (--collective_timeout); torch.distributed's 30 minutes when left out. */
  timeoutMs?: number;
  /** Where the tensors are; a GPU adds NCCL. 'cpu' when left out. */
  device?: Device;
}

const MINUTE = 60_000;

/** Whether an address is this machine's own, so that all ranks are on this machine. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/**
 * Where the own launcher started this process, has the kernel end it with the launcher: a rank that waits in a
 * collective could not notice. Without effect in a process that something else started.
 * @throws UserError when the launcher is gone already
 */
export function endWithLauncher(env: NodeJS.ProcessEnv = process.env): void {
  const launcher = Number(env.BLIP_LAUNCHER_PID ?? 0);
  if (launcher > 0 && !native().dieWithParent(launcher))
    throw new UserError(`The launcher (pid ${launcher}) that started this rank has ended, so this rank ends too.`);
}

/** NCCL's part of the addon, beside the addon itself. @throws UserError when it was not compiled */
export function ncclLibrary({ nccl: path } = findAddon() ?? addonFilesIn(buildFolder())): string {
  if (existsSync(path)) return path;
  throw new UserError(
    `Several processes on GPUs need NCCL's part of the addon, and ${path} is not there: run "npx blip-retrieval setup --cuda --force", which builds it or says why it cannot, or use one process or --device cpu.`,
  );
}

/** A process group over Gloo, and NCCL for tensors on GPUs: Python ranks with the same address can be in it. */
export class ProcessGroup {
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
   * have come. @throws UserError: port in use, no rank 0, ranks missing
   */
  static init(options: GroupOptions): ProcessGroup {
    const { joinTimeoutMs = 5 * MINUTE, timeoutMs = 30 * MINUTE, device = 'cpu', ...place } = options;
    const { rank, worldSize, masterAddr, masterPort, agentStore, restarts } = place;
    endWithLauncher();
    const nccl = device === 'cpu' ? '' : ncclLibrary();
    // An agent's store may outlive the ranks: what they left there must not be found by those that come after.
    const prefix = agentStore && restarts > 0 ? `/worker/attempt_${restarts}` : '';
    const server = rank === 0 && !agentStore;
    const loopback = isLoopback(masterAddr);
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
        nccl,
      );
      return new ProcessGroup(id, place, timeoutMs);
    } catch (error) {
      throw meetingFailure(error, place, joinTimeoutMs);
    }
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

  /** x becomes rank `root`'s x. */
  broadcast(x: Tensor, root = 0): void {
    this.run('broadcast', () => native().broadcast(this.#id, x.handle, root));
  }

  /** (n, …) of every rank → (worldSize · n, …) in rank order, without gradient. Shapes must be equal on all ranks. */
  allGather(x: Tensor): Tensor {
    return this.run('all_gather', () => new Tensor(native().allGather(this.#id, x.handle, false)));
  }

  /** As `allGather`; the gradient of this rank's rows is the sum of what all ranks have for them. */
  allGatherWithGradient(x: Tensor): Tensor {
    return this.run('all_gather', () => new Tensor(native().allGather(this.#id, x.handle, true)));
  }

  /** Bytes of any length, of every rank, in rank order. */
  gatherBytes(bytes: Uint8Array): Uint8Array[] {
    return scope(() => {
      const sizes = this.allGather(ops.int64([bytes.length])).integers();
      const room = Math.max(1, ...sizes);
      const padded = new Uint8Array(room);
      padded.set(bytes);
      const all = this.allGather(ops.fromBytes(padded, 'uint8', [room])).bytes();
      return sizes.map((size, rank) => all.slice(rank * room, rank * room + size));
    });
  }

  /** A value that JSON can hold, of every rank, in rank order. What JSON has no form for (NaN) must not be in it. */
  gatherValues<T>(value: T): T[] {
    const texts = this.gatherBytes(new TextEncoder().encode(JSON.stringify(value)));
    return texts.map((text) => JSON.parse(new TextDecoder().decode(text)));
  }

  /**
   * Token rows of every rank, in rank order, in one exchange: all ranks must have equally many, none longer than
   * `longest`, which must be the same on all ranks.
   */
  gatherTexts(texts: readonly Int32Array[], longest: number): Int32Array[] {
    const width = longest + 1; // the row's length, then the row
    const rows = new Int32Array(texts.length * width);
    texts.forEach((text, row) => {
      if (text.length > longest)
        throw new RangeError(`Expected at most ${longest} tokens for a row but received ${text.length}`);
      rows[row * width] = text.length;
      rows.set(text, row * width + 1);
    });
    return scope(() => {
      const bytes = this.allGather(ops.fromBytes(new Uint8Array(rows.buffer), 'int32', [texts.length, width])).bytes();
      const all = new Int32Array(bytes.buffer);
      return Array.from({ length: all.length / width }, (_, row) => {
        const start = row * width + 1;
        return all.slice(start, start + (all[start - 1] ?? 0));
      });
    });
  }

  /** Waits until all ranks are here. */
  barrier(): void {
    this.run('barrier', () => native().barrier(this.#id));
  }

  /**
   * Ends the group, after all ranks have come here (or `patienceMs` is over): a rank that left earlier would break off
   * what another still receives. Every rank calls this before it ends its process, but not after a failure.
   */
  destroy(patienceMs = this.timeoutMs): void {
    native().destroyProcessGroup(this.#id, patienceMs);
  }
}

/** Tokens a caption has at most, [CLS] and [SEP] included. */
const LONGEST_CAPTION = 35;

/** What a forward pass exchanges: the interface `Exchange` of src/model/training-model.ts. */
export function exchangeOf(group: ProcessGroup) {
  return {
    gather: (x: Tensor): Tensor => group.allGather(x),
    gatherWithGradient: (x: Tensor): Tensor => group.allGatherWithGradient(x),
    gatherTexts: (texts: readonly Int32Array[]): readonly Int32Array[] => group.gatherTexts(texts, LONGEST_CAPTION),
    rank: group.rank,
  };
}
