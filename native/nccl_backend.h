// NCCL's backend of a process group. nccl_backend.cc, in torch.node, opens libblip_nccl.so and asks it for the backend.
#pragma once
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <optional>
#include <string>

struct NcclRequest {
  c10::intrusive_ptr<c10d::Store> store;
  int rank;
  int size;
  std::chrono::milliseconds timeout;
};

// What libblip_nccl.so exports: the function that makes the backend, and the NCCL_VERSION_CODE that it was compiled
// for.
constexpr const char* kNcclFunction = "blip_nccl_backend";
constexpr const char* kNcclVersion = "blip_nccl_version";
using NcclFunction = void (*)(const NcclRequest& request, c10::intrusive_ptr<c10d::Backend>* made);

// ---- in torch.node

// Opens libblip_nccl.so once a process; libtorch_cuda must be open already. Nothing on success, else why it cannot be
// used.
std::optional<std::string> OpenNccl(const std::string& path);

// The backend, after OpenNccl has succeeded.
c10::intrusive_ptr<c10d::Backend> MakeNccl(const NcclRequest& request);

// Ends a backend that MakeNccl has made: in good order, which needs all ranks and waits for work that is queued; or,
// with `abort` or where that takes longer than `patience`, without the others. One that does not end is left for the
// exit.
void EndNccl(const c10::intrusive_ptr<c10d::Backend>& backend, bool abort, std::chrono::milliseconds patience);

// From now on exit() aborts the backends that have not ended, and then ends the process at once, with its exit code:
// the destructors of static objects would run under NCCL's threads.
void EndNcclAtExit();
