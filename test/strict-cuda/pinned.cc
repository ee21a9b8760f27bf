// Pinned host memory, and what "non-blocking" means for it. The stand-in has no clock of its own: an upload is carried
// out at once, but its bytes are looked at again at the next wait, since a GPU may read them as late as that; a
// download's bytes are garbage until the wait. A block that is given back with such copies in flight is kept until
// then, as CUDA's caching host allocator does.
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/ops/from_blob.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string_view>

#include "strict.h"

namespace strict {
namespace {

struct Block {
  size_t bytes;
  int in_flight = 0;
  bool given_back = false;
};
// A copy that the device may not have done yet.
struct Copy {
  int64_t number;
  c10::DeviceIndex device;
  char* host;
  size_t bytes;
  size_t digest;     // of an upload
  at::Tensor value;  // of a download: contiguous, on the host
};

std::mutex mutex;
// By address. Never destroyed, as tensors may be given back while the process ends.
auto& blocks = *new std::map<char*, Block>;
auto& queue = *new std::vector<Copy>;
int64_t queued = 0;

size_t Digest(const char* data, size_t bytes) { return std::hash<std::string_view>()({data, bytes}); }

// The block that holds this byte, or none. Called under the lock, as the next two.
std::map<char*, Block>::iterator Find(const void* data) {
  auto* at = static_cast<char*>(const_cast<void*>(data));
  auto next = blocks.upper_bound(at);
  if (next == blocks.begin()) return blocks.end();
  --next;
  return at < next->first + std::max<size_t>(next->second.bytes, 1) ? next : blocks.end();
}
void Take(const void* data) {
  if (const auto block = Find(data); block != blocks.end()) block->second.in_flight++;
}
void Leave(const void* data) {
  const auto block = Find(data);
  if (block == blocks.end() || --block->second.in_flight > 0 || !block->second.given_back) return;
  std::free(block->first);
  blocks.erase(block);
}

void GiveBack(void* data) {
  std::lock_guard<std::mutex> lock(mutex);
  const auto block = blocks.find(static_cast<char*>(data));
  block->second.given_back = true;
  block->second.in_flight++;
  Leave(data);
}

struct HostAllocator final : at::HostAllocator {
  c10::DataPtr allocate(size_t bytes) override {
    Count("pinned.allocations");
    void* data = nullptr;
    TORCH_CHECK(posix_memalign(&data, 64, std::max<size_t>(bytes, 64)) == 0, "CUDA error: out of memory");
    std::lock_guard<std::mutex> lock(mutex);
    blocks[static_cast<char*>(data)] = {bytes};
    return {data, data, &GiveBack, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &GiveBack; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
  bool record_event(void*, void*, c10::Stream) override { return true; }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}
};
HostAllocator host_allocator;
const at::HostAllocatorRegistry<c10::kCUDA> registered(&host_allocator);

}  // namespace

c10::Allocator* PinnedAllocator() { return &host_allocator; }

bool IsPinned(const void* data) {
  std::lock_guard<std::mutex> lock(mutex);
  return Find(data) != blocks.end();
}

void MustStay(const void* data, size_t bytes, c10::DeviceIndex device) {
  std::lock_guard<std::mutex> lock(mutex);
  Take(data);
  auto* host = static_cast<char*>(const_cast<void*>(data));
  queue.push_back({queued++, device, host, bytes, Digest(host, bytes), {}});
}

void WriteLater(void* data, const at::Tensor& value, c10::DeviceIndex device) {
  std::memset(data, 0xff, value.nbytes());  // NaN, -1
  std::lock_guard<std::mutex> lock(mutex);
  Take(data);
  queue.push_back({queued++, device, static_cast<char*>(data), value.nbytes(), 0, value});
}

int64_t QueuedCopies() {
  std::lock_guard<std::mutex> lock(mutex);
  return queued;
}

void CatchUp(c10::DeviceIndex device, int64_t copies) {
  std::lock_guard<std::mutex> lock(mutex);
  std::string fault;
  std::vector<Copy> later;
  for (Copy& copy : queue) {
    if (copy.device != device || copy.number >= copies) {
      later.push_back(std::move(copy));
      continue;
    }
    if (copy.value.defined()) std::memcpy(copy.host, copy.value.const_data_ptr(), copy.bytes);
    else if (Digest(copy.host, copy.bytes) != copy.digest)
      fault = c10::str("pinned memory was rewritten before the device had read it: ", copy.bytes,
                       " bytes of a non-blocking copy to cuda:", static_cast<int>(device));
    Leave(copy.host);
  }
  queue = std::move(later);
  TORCH_CHECK(fault.empty(), "strict: ", fault);
}

}  // namespace strict
