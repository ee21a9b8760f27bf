// The devices: STRICT_CUDA_DEVICES of them, the guard by which LibTorch chooses one, the hooks by which it asks for
// CUDA. There is one stream a device. Nothing that was queued is done before the host has waited for it; an event that
// is asked a second time is, as a GPU comes to an end too. With no device, STRICT_CUDA_WHY is what LibTorch says of it.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <execinfo.h>
#include <signal.h>
#include <torch/library.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "strict.h"

namespace strict {
namespace {

thread_local c10::DeviceIndex current = 0;

struct Event {
  c10::DeviceIndex device;
  int64_t ticket;
  bool asked = false;
};

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kCUDA; }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    setDevice(device);
    return before;
  }
  c10::Device getDevice() const override { return {c10::kCUDA, current}; }
  void setDevice(c10::Device device) const override {
    TORCH_CHECK(device.is_cuda() && device.index() < Devices(), "CUDA error: invalid device ordinal");
    if (device.has_index()) current = device.index();
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override { current = device.index(); }
  static c10::Stream Default(c10::Device device) {
    return c10::Stream(c10::Stream::DEFAULT, device.has_index() ? device : c10::Device(c10::kCUDA, current));
  }
  c10::Stream getStream(c10::Device device) const override { return Default(device); }
  c10::Stream getDefaultStream(c10::Device device) const override { return Default(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return Default(stream.device()); }
  void record(void** event, const c10::Stream& stream, c10::DeviceIndex, c10::EventFlag) const override {
    if (*event == nullptr) *event = new Event;
    *static_cast<Event*>(*event) = {stream.device_index(), Ticket(stream.device_index())};
  }
  void destroyEvent(void* event, c10::DeviceIndex) const noexcept override { delete static_cast<Event*>(event); }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void* event) const override {
    auto* e = static_cast<Event*>(event);
    if (e == nullptr || IsPast(e->device, e->ticket)) return true;
    if (e->asked) CatchUp(e->device, e->ticket);
    return std::exchange(e->asked, true);
  }
  bool queryStream(const c10::Stream& stream) const override {
    CatchUp(stream.device_index());
    return true;
  }
  c10::DeviceIndex deviceCount() const noexcept override { return Devices(); }
  void synchronizeStream(const c10::Stream& stream) const override {
    Wait("wait.synchronizeStream", stream.device_index());
  }
  void synchronizeEvent(void* event) const override {
    if (const auto* e = static_cast<Event*>(event)) Wait("wait.synchronizeEvent", e->device, e->ticket);
  }
  void synchronizeDevice(c10::DeviceIndex device) const override {
    Wait("wait.synchronizeDevice", device);
    WriteReport();
  }
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

struct CUDAHooks final : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {
    const char* why = std::getenv("STRICT_CUDA_WHY");
    TORCH_CHECK(Devices() > 0, why != nullptr ? why : "No CUDA GPUs are available");
  }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return Devices() > 0; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return Devices(); }
  int getNumGPUs() const override { return Devices(); }
  void setCurrentDevice(c10::DeviceIndex device) const override { Guard().setDevice({c10::kCUDA, device}); }
  c10::DeviceIndex getCurrentDevice() const override { return current; }
  c10::DeviceIndex current_device() const override { return current; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex device) const override { return DefaultGenerator(device); }
  at::Generator getNewGenerator(c10::DeviceIndex device) const override { return NewGenerator(device); }
  c10::Device getDeviceFromPtr(void*) const override { return {c10::kCUDA, current}; }
  c10::Allocator* getPinnedMemoryAllocator() const override { return PinnedAllocator(); }
  c10::Allocator* getCUDADeviceAllocator() const override { return DeviceAllocator(); }
  bool isPinnedPtr(const void* data) const override { return IsPinned(data); }
  bool hasCUDA() const override { return Devices() > 0; }
  bool hasCUDART() const override { return true; }
  bool hasCuDNN() const override { return true; }
  bool compiledWithCuDNN() const override { return true; }
  long versionCuDNN() const override { return 91900; }
  long versionRuntimeCuDNN() const override { return 91900; }
  void deviceSynchronize(c10::DeviceIndex device) const override { Guard().synchronizeDevice(device); }
};
using at::CUDAHooksRegistry;
using at::RegistererCUDAHooksRegistry;
REGISTER_CUDA_HOOKS(CUDAHooks)

// A GPU's memory is not the host's: the fault gets a sentence, then takes its course. The kernel has no address to
// report for one that is not canonical. V8 has a handler of its own, for WebAssembly.
struct sigaction before;
void Fault(int signal, siginfo_t* info, void* context) {
  if (info->si_code == SI_KERNEL) {
    constexpr char text[] = "strict: the host touched device memory, in:\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
    }
    void* frames[32];
    backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
  }
  sigaction(signal, &before, nullptr);
  if (info->si_code != SI_KERNEL && (before.sa_flags & SA_SIGINFO) != 0) before.sa_sigaction(signal, info, context);
}
const bool handled = [] {
  void* frame;
  backtrace(&frame, 1);  // loads what it needs, which is not for a handler
  struct sigaction action = {};
  action.sa_sigaction = Fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  return sigaction(SIGSEGV, &action, &before) == 0;
}();

// strict::touch reads a tensor's memory from the host, as no program may: for the tests of the sentence above.
void Touch(const at::Tensor& tensor) { (void)*static_cast<const volatile uint8_t*>(tensor.const_data_ptr()); }

}  // namespace

TORCH_LIBRARY(strict, m) { m.def("touch(Tensor tensor) -> ()", &Touch); }

int64_t Setting(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::atoll(text) : otherwise;
}

c10::DeviceIndex Devices() {
  static const auto count =
      static_cast<c10::DeviceIndex>(std::clamp<int64_t>(Setting("STRICT_CUDA_DEVICES", 2), 0, kMostDevices));
  return count;
}

c10::DeviceIndex CurrentDevice() { return current; }

c10::Device Placed(std::optional<c10::Device> device) {
  TORCH_CHECK(!device || device->index() < Devices(), "CUDA error: invalid device ordinal");
  return device && device->has_index() ? *device : c10::Device(c10::kCUDA, current);
}

void Wait(const std::string& what, c10::DeviceIndex device, int64_t until) {
  Count(what);
  CatchUp(device < 0 ? current : device, until);
}

}  // namespace strict
