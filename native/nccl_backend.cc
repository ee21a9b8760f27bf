// The functions declared in nccl_backend.h: NCCL from its opening to its end, without a header of CUDA.
#include "nccl_backend.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

namespace {

using Backend = c10::intrusive_ptr<c10d::Backend>;
using std::chrono::milliseconds;

constexpr milliseconds kAbortTime{5000};  // for kernels that wait on the GPU to see that they are to end

NcclFunction make_nccl = nullptr;

// Backends that have not ended. Never destroyed: NCCL's threads use them until the process is gone.
struct Alive {
  std::mutex mutex;
  std::vector<Backend> backends;
};
Alive& alive = *new Alive;

// Whether `work` is done within `time`; if not, its thread goes on.
bool Within(milliseconds time, std::function<void()> work) {
  std::packaged_task<void()> task([work = std::move(work)] {
    try {
      work();
    } catch (const std::exception&) {
      // What NCCL finds at its end concerns nobody any more.
    }
  });
  std::future<void> done = task.get_future();
  std::thread(std::move(task)).detach();
  return done.wait_for(time) == std::future_status::ready;
}

bool Abort(const Backend& backend) {
  return Within(kAbortTime, [backend] { backend->abort(); });
}

void AbortAndExit(int status, void*) {
  std::lock_guard<std::mutex> lock(alive.mutex);
  if (alive.backends.empty()) return;
  for (const Backend& backend : alive.backends) Abort(backend);
  _exit(status);
}

std::string Dotted(int64_t major, int64_t minor) { return std::to_string(major) + "." + std::to_string(minor); }

}  // namespace

std::optional<std::string> OpenNccl(const std::string& path) {
  void* opened = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) return dlerror();
  const auto make = reinterpret_cast<NcclFunction>(dlsym(opened, kNcclFunction));
  const auto* compiled = static_cast<const int*>(dlsym(opened, kNcclVersion));
  if (make == nullptr || compiled == nullptr) return "it is not of this version of the addon";
  // torch::cuda::nccl::version(): of the nccl.h that LibTorch was compiled with. c10d's classes have other members with
  // other ones, and a constructor that meets the wrong size writes where it must not.
  const auto version = reinterpret_cast<uint64_t (*)()>(dlsym(RTLD_DEFAULT, "_ZN5torch4cuda4nccl7versionEv"));
  if (version == nullptr) return "LibTorch does not tell the version of its NCCL";
  const uint64_t libtorch = version();
  const std::string own = Dotted(*compiled / 10000, *compiled / 100 % 100);  // of 22809
  const std::string theirs = Dotted(libtorch >> 32, libtorch >> 16 & 0xffff);
  if (own != theirs) return "it was compiled for NCCL " + own + ", but LibTorch was with NCCL " + theirs;
  make_nccl = make;
  return std::nullopt;
}

Backend MakeNccl(const NcclRequest& request) {
  TORCH_CHECK(make_nccl != nullptr, "NCCL's part of the addon is not open");
  Backend made;
  make_nccl(request, &made);
  std::lock_guard<std::mutex> lock(alive.mutex);
  alive.backends.push_back(made);
  return made;
}

void EndNccl(const Backend& backend, bool abort, milliseconds patience) {
  const bool ended = !abort && Within(patience, [backend] { backend->shutdown(); });
  if (!ended && !Abort(backend)) return;
  std::lock_guard<std::mutex> lock(alive.mutex);
  alive.backends.erase(std::remove(alive.backends.begin(), alive.backends.end(), backend), alive.backends.end());
}

void EndNcclAtExit() { on_exit(AbortAndExit, nullptr); }
