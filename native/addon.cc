// The entry of torch.node: everything that calls LibTorch.
#include <malloc.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "exports.h"
#include "handles.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
#if defined(__GLIBC__)
  // On free, glibc returns blocks above a threshold to the system; their next use page-faults again, which costs more
  // than the arithmetic on them. Keep them in the heap, up to a size where the faults no longer matter (an older glibc
  // refuses more than 32 MiB).
  if (mallopt(M_MMAP_THRESHOLD, 1 << 30) == 0) mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
  // A worker. The process's first thread has the process's number; glibc 2.28 has no gettid().
  if (syscall(SYS_gettid) != getpid()) {
    BeginThread();
    env.AddCleanupHook(EndThread);
  }
  InitDispatch(env, exports);
  InitLinear(env, exports);
  InitTensor(env, exports);
  InitRuntime(env, exports);
  InitProcess(env, exports);
  InitDistributed(env, exports);
  return exports;
}

NODE_API_MODULE(torch, Init)
