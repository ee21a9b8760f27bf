// Stand-in for the header of NCCL 2.28.9, with which LibTorch 2.11 was built: that NCCL is in or beside LibTorch, but
// its header often is not, and comes in a package of 200 MB. It declares only what c10d's headers name, in the words of
// NCCL's header (Copyright (c) 2015-2021, NVIDIA CORPORATION, BSD-3-Clause). ncclConfig_t is a member of
// ProcessGroupNCCL::Options and must have exactly its size; nothing here is called by the addon.
#pragma once
#include <torch/version.h>

#include <climits>
#include <cstddef>

#if TORCH_VERSION_MAJOR != 2 || TORCH_VERSION_MINOR != 11
// Another LibTorch has another NCCL: use the header that pip puts beside it.
#if !__has_include_next(<nccl.h>)
#error "nccl.h of the NCCL with which this LibTorch was built is needed: name its folder in BLIP_NCCL_INCLUDE"
#endif
#include_next <nccl.h>
#else

#define NCCL_MAJOR 2
#define NCCL_MINOR 28
#define NCCL_PATCH 9
#define NCCL_VERSION(major, minor, patch) ((major) * 10000 + (minor) * 100 + (patch))  // from 2.9 on
#define NCCL_VERSION_CODE NCCL_VERSION(NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH)
#define NCCL_SPLIT_NOCOLOR -1

using ncclComm_t = struct ncclComm*;
struct ncclUniqueId {
  char internal[128];
};

enum ncclResult_t { ncclSuccess = 0, ncclRemoteError = 6, ncclInProgress = 7 };
enum ncclRedOp_t { ncclSum, ncclProd, ncclMax, ncclMin, ncclAvg };
enum ncclDataType_t {
  ncclInt8 = 0,
  ncclUint8 = 1,
  ncclInt32 = 2,
  ncclInt64 = 4,
  ncclHalf = 6,
  ncclFloat = 7,
  ncclDouble = 8,
  ncclBfloat16 = 9,
  ncclFloat8e4m3 = 10,
  ncclFloat8e5m2 = 11
};

struct ncclConfig_t {
  size_t size;
  unsigned magic, version;
  int blocking, cgaClusterSize, minCTAs, maxCTAs;
  const char* netName;
  int splitShare, trafficClass;
  const char* commName;
  int collnetEnable, CTAPolicy, shrinkShare, nvlsCTAs, nChannelsPerNetPeer, nvlinkCentricSched;
};
static_assert(sizeof(ncclConfig_t) == 80);
constexpr ncclConfig_t NCCL_CONFIG_INITIALIZER{};  // LibTorch's own constructor writes the real one

extern "C" ncclResult_t ncclRedOpDestroy(ncclRedOp_t, ncclComm_t);

#endif
