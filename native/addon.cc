// The entry of torch.node: everything that calls LibTorch.
#include <sys/syscall.h>
#include <unistd.h>

#include "exports.h"
#include "handles.h"
#include "heap.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  KeepFreedMemory();
  // A worker. The process's first thread has the process's number; glibc 2.28 has no gettid().
  if (syscall(SYS_gettid) != getpid()) {
    BeginThread();
    env.AddCleanupHook(EndThread);
  }
  InitDispatch(env, exports);
  InitLinear(env, exports);
  InitAttention(env, exports);
  InitTensor(env, exports);
  InitRuntime(env, exports);
  InitProcess(env, exports);
  InitDistributed(env, exports);
  return exports;
}

NODE_API_MODULE(torch, Init)
