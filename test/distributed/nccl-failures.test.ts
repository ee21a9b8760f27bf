// What NCCL and c10d say when an exchange on GPUs fails, as LibTorch 2.11 words it, and the sentences that users read.
// Covers distributed/failures, lines, announcement, nccl (openNccl).
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { announcementOf, differentDevices } from '#blip/distributed/announcement.js';
import { collectiveFailure, LOST_RANK, WAITED, watchdogFailure } from '#blip/distributed/failures.js';
import { forwardLines } from '#blip/distributed/lines.js';
import { openNccl } from '#blip/distributed/nccl.js';
import { UserError } from '#blip/errors.js';
import { put } from '../helpers/fake-libtorch.js';
import { temporaryFolder } from '../helpers/files.js';

const where = 'allReduce: NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, ';
const duplicate = `${where}invalid usage (run with NCCL_DEBUG=WARN for details), NCCL version 2.28.9 ncclInvalidUsage: This usually reflects invalid usage of NCCL library. Last error: Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 5d000`;
const remote = `${where}remote process exited or there was a network error, NCCL version 2.28.9 ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely. Last error: socketProgress: Connection closed by remote peer 10.0.0.2<41234>`;
const aborted = 'allReduce: NCCL communicator was aborted on rank 2. Original reason for failure was: watchdog timeout';
const system = `${where}unhandled system error (run with NCCL_DEBUG=INFO for details), NCCL version 2.28.9 ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error. Last error: Error while creating shared memory segment /dev/shm/nccl-8Hz1 (size 9637888), error: No space left on device (28)`;

const sentenceOf = (said: string, code?: string) => {
  const error = collectiveFailure(Object.assign(new Error(said), { code }), 'all_reduce', 2, 1_800_000);
  return error instanceof UserError ? [error.message, error.exitCode] : error;
};

test('failures of a call', () => {
  assert.deepEqual(sentenceOf(duplicate), [
    'Rank 1 and rank 0 are on the same GPU, and NCCL takes one rank a GPU. Start no more ranks on a machine than it has GPUs (--nproc_per_node gpu), or set `device` to cpu.',
    2,
  ]);
  for (const said of [remote, aborted])
    assert.deepEqual(sentenceOf(said), [`Rank 2 ${LOST_RANK} in all_reduce. See what that rank printed.`, 1]);
  assert.deepEqual(sentenceOf(system), [
    'NCCL failed on rank 2 in all_reduce: Error while creating shared memory segment /dev/shm/nccl-8Hz1 (size 9637888), error: No space left on device (28). Start again with NCCL_DEBUG=WARN in the environment, which prints the cause.',
    1,
  ]);
  const late = 'wait timeout after 1800000ms, keys: /default_pg/0//cuda//0';
  assert.match(String(sentenceOf(late)), /^Rank 2 waited longer than 1800 s for the other ranks in all_reduce\./);
  // Memory has a sentence of its own, elsewhere; what nobody knows stays as it is.
  const memory = sentenceOf(
    `${where}unhandled cuda error. Last error: Cuda failure 2 'out of memory'`,
    'ERR_TORCH_MEMORY',
  );
  assert.ok(memory instanceof Error && !(memory instanceof UserError));
  assert.ok(!(sentenceOf('a shape that does not fit') instanceof UserError));
});

const timeout =
  '  what():  [PG ID 0 PG GUID 0(default_pg) Rank 3] Process group watchdog thread terminated with exception: [Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=17, OpType=_ALLGATHER_BASE, NumelIn=4, NumelOut=8, Timeout(ms)=60000) ran for 60021 milliseconds before timing out.';
const gone =
  '  what():  [PG ID 0 PG GUID 0(default_pg) Rank 3] Process group watchdog thread terminated with exception: NCCL error: remote process exited or there was a network error, NCCL version 2.28.9';

test('what the watchdog says when it ends a process', () => {
  assert.match(watchdogFailure(timeout) ?? '', RegExp(`^Rank 3 ${WAITED} 60 s for the other ranks in all_gather\\. `));
  assert.equal(watchdogFailure(timeout.replace('_ALLGATHER_BASE', 'BROADCAST'))?.includes(' in broadcast. '), true);
  assert.equal(watchdogFailure(gone), `Rank 3 ${LOST_RANK} in an exchange. See what that rank printed.`);
  for (const line of ['', 'a watchdog barks', 'frame #0: c10d::ProcessGroupNCCL::Watchdog::run()', remote])
    assert.equal(watchdogFailure(line), undefined, line);
});

test('the last error of a process that the watchdog ended is its sentence, not the stack below it', async () => {
  const from = new PassThrough();
  const lastError = forwardLines(from, new PassThrough(), '[rank 3] ', watchdogFailure);
  from.end(
    `Train Epoch: [0]\nterminate called after throwing an instance of 'c10::DistBackendError'\n${timeout}\nException raised from checkTimeout\nframe #0: c10::Error::Error\n`,
  );
  await new Promise((resolve) => from.on('end', resolve));
  assert.equal(lastError(), watchdogFailure(timeout));
});

test('ranks that compute on different kinds of devices', () => {
  const [cpu, gpu] = [announcementOf('cpu'), announcementOf('cuda:1')];
  for (const all of [[cpu, cpu], [gpu, announcementOf('cuda:0')], [null, gpu], [cpu, null], []])
    assert.equal(differentDevices(all), undefined);
  assert.match(
    differentDevices([gpu, null, cpu])?.message ?? '',
    /^Rank 2 on \S+ computes on the CPU, but rank 0 on \S+ on a GPU, and all must do the same\. Choose `device` cpu for all/,
  );
  assert.match(
    differentDevices([cpu, gpu, cpu, cpu])?.message ?? '',
    /^Rank 0 on \S+ \(and 2 more\) compute on the CPU, but rank 1 on/,
  );
});

test("a library that is none: NCCL's part is named, not the place where ranks meet", (t) => {
  const path = put(join(temporaryFolder(t), 'libblip_nccl.so'), 'no library');
  assert.throws(() => openNccl(path), {
    name: 'UserError',
    message: new RegExp(
      `^NCCL's part of the addon, ${path}, cannot be used: ${path}: .+\\. Run "npx blip-retrieval setup`,
    ),
  });
});
