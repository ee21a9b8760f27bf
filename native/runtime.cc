// LibTorch's state in the process and the calling thread: random generators, gradient mode, autocast, precision,
// threads, devices and their memory.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>
#include <dlfcn.h>
#include <torch/version.h>

#include <cstdlib>

#include "convert.h"
#include "handles.h"

namespace {

at::Generator GeneratorOf(Info info, size_t index) {
  at::Generator generator;
  if (!GetHeld(HandleOf(info, index), &generator)) RejectArgument(info, index, "a generator");
  return generator;
}

int CudaDevices() { return at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0; }

// An argument that is the index of a GPU.
c10::DeviceIndex GpuOf(Info info, size_t index) {
  const int count = CudaDevices();
  TORCH_CHECK(count > 0, "there is no GPU that LibTorch can use");
  return static_cast<c10::DeviceIndex>(IntegerOf(info, index, 0, count - 1));
}

// ---- random generators. Every use holds the generator's lock, as LibTorch's kernels do.

// Seeds have 64 bits; a negative one means its two's complement, as in Python.
uint64_t SeedOf(Info info, size_t index) { return static_cast<uint64_t>(IntegerOf(info, index)); }

// createGenerator(seed): a new CPU generator; defaultGenerator(device): the one that operators use when given none.
double CreateGenerator(Info info) { return PutHandle(at::make_generator<at::CPUGeneratorImpl>(SeedOf(info, 0))); }
double DefaultGenerator(Info info) {
  const c10::Device device = DeviceArgument(info, 0);
  TORCH_CHECK(device.is_cpu() || CudaDevices() > 0, "there is no generator for ", device.str(),
              ": there is no GPU that LibTorch can use");
  return PutHandle(at::globalContext().defaultGenerator(device));
}
// generatorState(generator): uint8 tensor, as torch.Generator.get_state; setGeneratorState(generator, tensor).
double GeneratorState(Info info) {
  at::Generator generator = GeneratorOf(info, 0);
  std::lock_guard<std::mutex> lock(generator.mutex());
  return PutHandle(generator.get_state());
}
void SetGeneratorState(Info info) {
  at::Generator generator = GeneratorOf(info, 0);
  const at::Tensor state = TensorOf(info, 1);
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}
void SeedGenerator(Info info) {
  at::Generator generator = GeneratorOf(info, 0);
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_current_seed(SeedOf(info, 1));
}

// ---- modes of the calling thread

// setGradEnabled(flag): returns the previous mode.
bool SetGradEnabled(Info info) {
  const bool before = c10::GradMode::is_enabled();
  c10::GradMode::set_enabled(BooleanOf(info, 0));
  return before;
}

// What an enterAutocast changed, for its leaveAutocast to restore.
struct Autocast {
  c10::DeviceType type;
  bool enabled;
  at::ScalarType dtype;
};
thread_local std::vector<Autocast> entered;

// enterAutocast(device, dtype): like `with torch.autocast(...)`; leaveAutocast() leaves the one entered last.
void EnterAutocast(Info info) {
  const c10::DeviceType type = DeviceArgument(info, 0).type();
  const auto dtype = static_cast<at::ScalarType>(IntegerOf(info, 1));
  if (dtype != at::kHalf && dtype != at::kBFloat16) RejectArgument(info, 1, "the code of float16 or bfloat16");
  if (!at::autocast::is_autocast_available(type)) RejectArgument(info, 0, "a device that autocast supports");
  entered.push_back({type, at::autocast::is_autocast_enabled(type), at::autocast::get_autocast_dtype(type)});
  at::autocast::set_autocast_enabled(type, true);
  at::autocast::set_autocast_dtype(type, dtype);
  at::autocast::increment_nesting();
}
void LeaveAutocast(Info info) {
  TORCH_CHECK(!entered.empty(), "no autocast was entered on this thread");
  const Autocast before = entered.back();
  entered.pop_back();
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(before.type, before.enabled);
  at::autocast::set_autocast_dtype(before.type, before.dtype);
}

// ---- precision and threads of the process

// setTf32(flag): whether float32 matrix products and convolutions on CUDA may use TF32. No effect on the CPU.
void SetTf32(Info info) {
  const bool allowed = BooleanOf(info, 0);
  at::globalContext().setAllowTF32CuBLAS(allowed);
  at::globalContext().setAllowTF32CuDNN(allowed);
}

// tf32(): { matmul, convolution }, whether each may use TF32.
Napi::Value Tf32(Info info) {
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("matmul", at::globalContext().allowTF32CuBLAS());
  result.Set("convolution", at::globalContext().allowTF32CuDNN());
  return result;
}
constexpr int kMaxThreads = 1024;  // OpenMP ends the process when it cannot start as many as requested
void SetThreads(Info info) { at::set_num_threads(static_cast<int>(IntegerOf(info, 0, 1, kMaxThreads))); }
// version(): { built, cuda: whether a GPU can be used, cudaLibrary: whether libtorch_cuda is loaded }
Napi::Value Version(Info info) {
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("built", TORCH_VERSION);
  result.Set("cudaLibrary", at::hasCUDA());
  result.Set("cuda", CudaDevices() > 0);
  return result;
}

// ---- devices. Open libtorch_cuda before calling any of these: LibTorch remembers its first answer.

// A function of the driver's C interface, so that no CUDA header is needed; null where there is none. LibTorch has
// opened and initialized the driver by the time it has counted the GPUs.
template <class Function>
Function DriverFunction(const char* name) {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  return driver ? reinterpret_cast<Function>(dlsym(driver, name)) : nullptr;
}
// deviceName(index): the driver's name for a GPU.
std::optional<std::string> DeviceName(Info info) {
  const auto index = static_cast<int>(IntegerOf(info, 0, 0, 127));
  const auto get_name = DriverFunction<int (*)(char*, int, int)>("cuDeviceGetName");
  char name[256] = "";
  if (CudaDevices() == 0 || get_name == nullptr || get_name(name, sizeof name, index) != 0) return std::nullopt;
  return name;
}
// deviceCapability(index): [major, minor] of the GPU's compute capability; null where the driver does not say.
std::optional<std::vector<int>> DeviceCapability(Info info) {
  const auto index = static_cast<int>(IntegerOf(info, 0, 0, 127));
  const auto get = DriverFunction<int (*)(int*, int, int)>("cuDeviceGetAttribute");
  constexpr int kMajor = 75, kMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
  int major = 0, minor = 0;
  if (CudaDevices() == 0 || get == nullptr || get(&major, kMajor, index) != 0 || get(&minor, kMinor, index) != 0)
    return std::nullopt;
  return std::vector<int>{major, minor};
}
// whyNoGpu(): LibTorch's own words for why it can use no GPU; null where it can, or where its CUDA part is not open.
std::optional<std::string> WhyNoGpu(Info) {
  if (CudaDevices() > 0 || !at::detail::getCUDAHooks().hasCUDART()) return std::nullopt;
  try {
    at::globalContext().lazyInitDevice(c10::kCUDA);
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return std::nullopt;
}
// deviceMemory(index): bytes { free, total, allocated, reserved, peakAllocated, peakReserved }. `free` is the driver's:
// what LibTorch's allocator has reserved and does not use comes on top.
Napi::Value DeviceMemory(Info info) {
  const auto index = GpuOf(info, 0);
  constexpr size_t kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto stats = at::accelerator::getDeviceStats(index);
  const auto memory = at::accelerator::getMemoryInfo(index);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("free", static_cast<double>(memory.first));
  result.Set("total", static_cast<double>(memory.second));
  result.Set("allocated", static_cast<double>(stats.allocated_bytes[kAll].current));
  result.Set("reserved", static_cast<double>(stats.reserved_bytes[kAll].current));
  result.Set("peakAllocated", static_cast<double>(stats.allocated_bytes[kAll].peak));
  result.Set("peakReserved", static_cast<double>(stats.reserved_bytes[kAll].peak));
  return result;
}

// What LibTorch sets otherwise. Once a process: a worker that loads the addon later must not undo what the main thread
// has set.
void SetDefaults() {
  static std::once_flag once;
  std::call_once(once, [] {
    at::Context& context = at::globalContext();
    // LibTorch's convolutions use TF32, which leaves three digits of a patch embedding.
    context.setAllowTF32CuBLAS(false);
    context.setAllowTF32CuDNN(false);
    // LibTorch 2.11 takes cuDNN's attention first on Hopper and Blackwell for 16-bit types. It builds a plan for every
    // new shape, in half a second each, and with packed texts nearly every image and step is a new shape.
    // FlashAttention needs none. Whoever sets LibTorch's own variable decides for himself.
    if (std::getenv("TORCH_CUDNN_SDPA_DEPRIORITIZED") == nullptr) context.setSDPUseCuDNN(false);
  });
}

}  // namespace

void InitRuntime(Napi::Env env, Napi::Object exports) {
  SetDefaults();
  const Parameter seed{"seed", kInteger}, generator{"generator", kHandle}, gpu{"index", kInteger};
  const Parameter device{"device", kString};
  // The default generators of the CPU and of every GPU, as torch.manual_seed.
  Export(env, exports, "manualSeed", [](Info info) { at::manual_seed(SeedOf(info, 0)); }, {seed});
  Export(env, exports, "createGenerator", CreateGenerator, {seed});
  Export(env, exports, "defaultGenerator", DefaultGenerator, {device});
  Export(env, exports, "generatorState", GeneratorState, {generator});
  Export(env, exports, "setGeneratorState", SetGeneratorState, {generator, {"state", kHandle}});
  Export(env, exports, "seedGenerator", SeedGenerator, {generator, seed});
  Export(env, exports, "setGradEnabled", SetGradEnabled, {{"flag", kBoolean}});
  Export(env, exports, "enterAutocast", EnterAutocast, {device, {"dtype", kInteger}});
  Export(env, exports, "leaveAutocast", LeaveAutocast, {});
  Export(env, exports, "setTf32", SetTf32, {{"allowed", kBoolean}});
  Export(env, exports, "tf32", Tf32, {});
  Export(env, exports, "getThreads", [](Info) { return at::get_num_threads(); }, {});
  Export(env, exports, "setThreads", SetThreads, {{"threads", kInteger}});
  Export(env, exports, "version", Version, {});
  Export(env, exports, "deviceCount", [](Info) { return CudaDevices(); }, {});
  Export(env, exports, "whyNoGpu", WhyNoGpu, {});
  Export(env, exports, "deviceName", DeviceName, {gpu});
  Export(env, exports, "deviceCapability", DeviceCapability, {gpu});
  Export(env, exports, "setDevice", [](Info info) { at::accelerator::setDeviceIndex(GpuOf(info, 0)); }, {gpu});
  // Waits for all work queued on the GPU.
  Export(env, exports, "synchronize", [](Info info) { at::accelerator::synchronizeDevice(GpuOf(info, 0)); }, {gpu});
  Export(env, exports, "deviceMemory", DeviceMemory, {gpu});
  Export(env, exports, "resetPeakMemory", [](Info info) { at::accelerator::resetPeakStats(GpuOf(info, 0)); }, {gpu});
}
