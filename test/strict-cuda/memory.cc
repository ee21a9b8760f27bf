// Device memory: host memory under addresses that the host cannot use, with a limit of STRICT_CUDA_MEMORY bytes a
// device. As CUDA's caching allocator it keeps what was given back: the driver's free bytes do not rise until
// emptyCache.
#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "strict.h"

namespace strict {
namespace {

struct Memory {
  int64_t allocated = 0, peak = 0, reserved = 0, peak_reserved = 0;
};
std::mutex mutex;
Memory memory[kMostDevices];

int64_t Total() {
  static const int64_t total = Setting("STRICT_CUDA_MEMORY", int64_t{8} << 30);
  return total;
}

std::string Words(int64_t bytes) {
  char text[32];
  const double mebibytes = static_cast<double>(bytes) / (1 << 20);
  if (mebibytes >= 1024) std::snprintf(text, sizeof text, "%.2f GiB", mebibytes / 1024);
  else std::snprintf(text, sizeof text, "%.2f MiB", mebibytes);
  return text;
}

// Throws CUDA's error where the device has no room for `bytes` more.
void Demand(c10::DeviceIndex device, int64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  const Memory& m = memory[device];
  if (m.allocated + bytes > Total())
    C10_THROW_ERROR(OutOfMemoryError, c10::str("CUDA out of memory. Tried to allocate ", Words(bytes), ". GPU ",
                                               static_cast<int>(device), " has a total capacity of ", Words(Total()),
                                               " of which ", Words(Total() - m.allocated), " is free."));
}
void Account(c10::DeviceIndex device, int64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  Memory& m = memory[device];
  m.allocated += bytes;
  m.peak = std::max(m.peak, m.allocated);
  m.reserved = std::max(m.reserved, m.allocated);
  m.peak_reserved = std::max(m.peak_reserved, m.reserved);
}

// What holds the bytes of a storage of the device.
struct Block {
  c10::Storage held;
  int64_t bytes;
  c10::DeviceIndex device;
};
void Drop(void* context) {
  const auto* block = static_cast<Block*>(context);
  Account(block->device, -block->bytes);
  delete block;
}

struct StrictAllocator final : c10::DeviceAllocator {
  c10::DataPtr allocate(size_t bytes) override {
    Demand(CurrentDevice(), static_cast<int64_t>(bytes));  // before the host is asked for it
    const c10::Storage host(c10::Storage::use_byte_size_t(), bytes, c10::GetAllocator(c10::kCPU), false);
    return Adopt(host, CurrentDevice());
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(ToHost(to), ToHost(from), bytes);
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {
    std::lock_guard<std::mutex> lock(mutex);
    for (Memory& m : memory) m.reserved = m.allocated;
  }
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> lock(mutex);
    c10::CachingDeviceAllocator::DeviceStats stats;
    const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    stats.allocated_bytes[all].current = memory[device].allocated;
    stats.allocated_bytes[all].peak = memory[device].peak;
    stats.reserved_bytes[all].current = memory[device].reserved;
    stats.reserved_bytes[all].peak = memory[device].peak_reserved;
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> lock(mutex);
    memory[device].peak = memory[device].allocated;
    memory[device].peak_reserved = memory[device].reserved;
  }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> lock(mutex);
    return {Total() - memory[device].reserved, Total()};
  }
};
StrictAllocator allocator;

const bool registered = [] {
  c10::SetAllocator(c10::kCUDA, &allocator);
  return true;
}();

}  // namespace

c10::Allocator* DeviceAllocator() { return &allocator; }

c10::DataPtr Adopt(const c10::Storage& host, c10::DeviceIndex device) {
  const auto bytes = static_cast<int64_t>(host.nbytes());
  Demand(device, bytes);
  Account(device, bytes);
  return {ToDevice(host.data()), new Block{host, bytes, device}, &Drop, c10::Device(c10::kCUDA, device)};
}

}  // namespace strict
