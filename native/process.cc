// This process: locks of its files, its heap, and its end with its parent.
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "exports.h"
#include "heap.h"

namespace {

// lockFile(descriptor): takes the kernel's lock of an open file, which lasts until the file is closed or the process
// ends, however it ends. False when another open file holds it; null where the file system has no such locks.
std::optional<bool> LockFile(Info info) {
  const auto descriptor = static_cast<int>(IntegerOf(info, 0, 0, INT32_MAX));
  int failed;
  do {
    failed = flock(descriptor, LOCK_EX | LOCK_NB);
  } while (failed != 0 && errno == EINTR);
  if (failed != 0 && errno == EBADF) throw std::runtime_error("no file is open as " + std::to_string(descriptor));
  if (failed != 0 && errno != EWOULDBLOCK) return std::nullopt;
  return failed == 0;
}

// dieWithParent(pid): the kernel kills this process when its parent ends, however busy either of them is. False when
// the parent is no longer `pid`: it has ended already.
bool DieWithParent(Info info) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) throw std::system_error(errno, std::generic_category(), "prctl");
  return getppid() == IntegerOf(info, 0);
}

}  // namespace

void InitProcess(Napi::Env env, Napi::Object exports) {
  // Gives the heap's unused pages back to the system, those between blocks included; see heap.h.
  Export(env, exports, "trimHeap", [](Info) { TrimFreedMemory(); }, {});
  Export(env, exports, "lockFile", LockFile, {{"descriptor", kInteger}});
  Export(env, exports, "dieWithParent", DieWithParent, {{"pid", kInteger}});
}
