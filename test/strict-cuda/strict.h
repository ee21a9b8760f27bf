// A strict stand-in for libtorch_cuda.so, for tests on machines without a GPU. It registers itself as LibTorch's CUDA
// (allocator, guard, hooks, generator, kernels), so a program runs its own code for "cuda:N", on the CPU.
//   * Device memory is host memory whose addresses have bit 56 set: a host that touches it gets a SIGSEGV.
//   * Every operator runs the CPU's kernel on aliases of the same memory, after CUDA's own checks.
//   * Non-blocking copies are late: what the host may not do before a wait is found at that wait.
//   * Everything that waits for the device, copies or calls NCCL is counted (report.cc).
#pragma once
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/Allocator.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace strict {

// ---- report.cc

void Count(const std::string& what, int64_t by = 1);
void CountAttentionShape(const std::string& shape);
void WriteReport();

// ---- memory.cc

constexpr uintptr_t kDeviceBit = uintptr_t{1} << 56;  // such an address is not canonical: any access faults
inline void* ToDevice(const void* host) {
  return host ? reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(host) | kDeviceBit) : nullptr;
}
inline void* ToHost(const void* device) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(device) & ~kDeviceBit);
}
c10::Allocator* DeviceAllocator();
// Device memory that is the memory of a CPU tensor, which a kernel returned.
c10::DataPtr Adopt(const c10::Storage& host, c10::DeviceIndex device);

// ---- device.cc

constexpr c10::DeviceIndex kMostDevices = 16;
int64_t Setting(const char* name, int64_t otherwise);  // of the environment
c10::DeviceIndex Devices();
c10::DeviceIndex CurrentDevice();
// What was asked for, the current device where no number is given. Throws where there is no such device.
c10::Device Placed(std::optional<c10::Device> device);
// The host waits for the device: counted under `what`, and the late copies have happened afterwards, all or the first.
void Wait(const std::string& what, c10::DeviceIndex device, int64_t copies = INT64_MAX);

// ---- pinned.cc

c10::Allocator* PinnedAllocator();
bool IsPinned(const void* data);
// After a copy from pinned memory was queued: the host must leave these bytes alone until it has waited.
void MustStay(const void* data, size_t bytes, c10::DeviceIndex device);
// The host's bytes hold nothing of use until it has waited; then they hold `value`, which is what the device had.
void WriteLater(void* data, const at::Tensor& value, c10::DeviceIndex device);
// The number of late copies that were queued so far.
int64_t QueuedCopies();
// The device has done the first `copies` of them, those that are its own.
void CatchUp(c10::DeviceIndex device, int64_t copies = INT64_MAX);

// ---- generator.cc

at::Generator& DefaultGenerator(c10::DeviceIndex device);
at::Generator NewGenerator(c10::DeviceIndex device);
// The CPU's generator that stands behind one of CUDA, and the default one of `device` where none is given. Throws for a
// generator of the CPU.
at::Generator HostGenerator(const std::string& method, std::optional<at::Generator> generator, c10::DeviceIndex device);

// ---- aliases.cc

// Tensors of the device seen from the host, and a kernel's results as tensors of the device.
class Aliases {
 public:
  // A CPU tensor over the memory of `device`; any other tensor is returned as it is.
  at::Tensor Host(const at::Tensor& device);
  // A result of the host. What lies in the memory of an alias becomes a view of that tensor of the device.
  at::Tensor Device(const at::Tensor& host, c10::DeviceIndex device);
  // Size and memory of an argument that a kernel has resized.
  void WriteBack(const at::Tensor& device, const at::Tensor& host);

 private:
  struct Pair {
    c10::Storage device, host;
  };
  std::vector<Pair> pairs_;
};
inline at::Tensor HostAlias(const at::Tensor& t) { return Aliases().Host(t); }

// ---- checks.cc

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;
// The device that CUDA's checks give a call, or none where no tensor is on a GPU. Throws by operator and argument name.
std::optional<c10::Device> CheckDevices(const std::string& method, const NamedTensors& tensors);
void CheckTypes(const std::string& method, const NamedTensors& tensors);
// Counts what CUDA's kernel of this operator waits for.
void CountReads(const std::string& method, const NamedTensors& tensors, c10::DeviceIndex device);

// ---- fallback.cc

void Fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack);

}  // namespace strict
