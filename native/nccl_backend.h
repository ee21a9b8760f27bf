// The interface between torch.node and libblip_nccl.so, which it opens only on GPUs.
#pragma once
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>

struct NcclRequest {
  c10::intrusive_ptr<c10d::Store> store;
  int rank;
  int size;
  std::chrono::milliseconds timeout;
};

constexpr const char* kNcclFunction = "blip_nccl_backend";
using NcclFunction = void (*)(const NcclRequest& request, c10::intrusive_ptr<c10d::Backend>* made);
