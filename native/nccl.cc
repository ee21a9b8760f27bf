// NCCL's part of a process group, in a separate library: only a run on GPUs opens it, after libtorch_cuda, so the addon
// itself needs no CUDA. nccl.h must fit the NCCL that LibTorch was built with: c10d's classes depend on it.
#include <nccl.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "nccl_backend.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED const int blip_nccl_version = NCCL_VERSION_CODE;

EXPORTED void blip_nccl_backend(const NcclRequest& request, c10::intrusive_ptr<c10d::Backend>* made) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  // Counted from the call of a collective. A thread of NCCL's, its watchdog, then ends the process with SIGABRT.
  options->timeout = request.timeout;
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(request.store, request.rank, request.size, options);
  backend->setSequenceNumberForGroup();
  *made = backend;
}
