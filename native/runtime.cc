// State of the process and of the calling thread: random generators, gradient mode, autocast, precision, threads,
// devices and their memory.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>
#include <dlfcn.h>
#include <torch/version.h>

#include "convert.h"
#include "exports.h"
#include "handles.h"

namespace {

at::Generator GeneratorOf(const Napi::Value& value) {
  at::Generator generator;
  if (!GetGenerator(value.As<Napi::Number>(), &generator)) C10_THROW_ERROR(TypeError, "expected a live generator");
  return generator;
}

c10::Device DeviceNamed(const Napi::Value& value) { return c10::Device(value.As<Napi::String>().Utf8Value()); }

bool HasCuda() { return at::hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0; }

// ---- random generators. Every use is under the generator's own lock, as LibTorch's kernels take it.

// manualSeed(seed): the default generators of the CPU and of every GPU, as torch.manual_seed.
Napi::Value ManualSeed(const Napi::CallbackInfo& info) {
  at::manual_seed(static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value()));
  return info.Env().Undefined();
}
// createGenerator(seed): a CPU generator of its own; defaultGenerator(device): the one operators use when given none.
Napi::Value CreateGenerator(const Napi::CallbackInfo& info) {
  const auto seed = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
  return Napi::Number::New(info.Env(), PutHandle(at::make_generator<at::CPUGeneratorImpl>(seed)));
}
Napi::Value DefaultGenerator(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), PutHandle(at::globalContext().defaultGenerator(DeviceNamed(info[0]))));
}
// generatorState(generator): uint8 tensor, as torch.Generator.get_state; setGeneratorState(generator, tensor).
Napi::Value GeneratorState(const Napi::CallbackInfo& info) {
  at::Generator generator = GeneratorOf(info[0]);
  std::lock_guard<std::mutex> lock(generator.mutex());
  return Napi::Number::New(info.Env(), PutHandle(generator.get_state()));
}
Napi::Value SetGeneratorState(const Napi::CallbackInfo& info) {
  at::Generator generator = GeneratorOf(info[0]);
  at::Tensor state;
  if (!GetTensor(info[1].As<Napi::Number>(), &state)) C10_THROW_ERROR(TypeError, "expected a live tensor for the state");
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
  return info.Env().Undefined();
}
Napi::Value SeedGenerator(const Napi::CallbackInfo& info) {
  at::Generator generator = GeneratorOf(info[0]);
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_current_seed(static_cast<uint64_t>(info[1].As<Napi::Number>().Int64Value()));
  return info.Env().Undefined();
}

// ---- modes of the calling thread

// setGradEnabled(flag): the mode before.
Napi::Value SetGradEnabled(const Napi::CallbackInfo& info) {
  const bool before = c10::GradMode::is_enabled();
  c10::GradMode::set_enabled(info[0].As<Napi::Boolean>());
  return Napi::Boolean::New(info.Env(), before);
}
// enterAutocast(deviceType, dtype): like `with torch.autocast(...)`; leaveAutocast(deviceType) ends it.
Napi::Value EnterAutocast(const Napi::CallbackInfo& info) {
  const c10::DeviceType type = DeviceNamed(info[0]).type();
  at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(info[1].As<Napi::Number>().Int32Value()));
  at::autocast::set_autocast_enabled(type, true);
  at::autocast::increment_nesting();
  return info.Env().Undefined();
}
Napi::Value LeaveAutocast(const Napi::CallbackInfo& info) {
  if (at::autocast::decrement_nesting() == 0) {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(DeviceNamed(info[0]).type(), false);
  }
  return info.Env().Undefined();
}

// ---- the process

// setTf32(flag): whether float32 matrix products and convolutions on CUDA may use TF32. No effect on the CPU.
Napi::Value SetTf32(const Napi::CallbackInfo& info) {
  const bool allowed = info[0].As<Napi::Boolean>();
  at::globalContext().setAllowTF32CuBLAS(allowed);
  at::globalContext().setAllowTF32CuDNN(allowed);
  return info.Env().Undefined();
}
Napi::Value GetThreads(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), at::get_num_threads()); }
Napi::Value SetThreads(const Napi::CallbackInfo& info) {
  const int threads = info[0].As<Napi::Number>().Int32Value();
  TORCH_CHECK(threads >= 1, "expected at least one thread but received ", threads);
  at::set_num_threads(threads);
  return info.Env().Undefined();
}
// version(): { built, cuda: whether a GPU can be used, cudaLibrary: whether libtorch_cuda is loaded }
Napi::Value Version(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("built", TORCH_VERSION);
  result.Set("cudaLibrary", at::hasCUDA());
  result.Set("cuda", HasCuda());
  return result;
}
Napi::Value ParallelInfo(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), at::get_parallel_info()); }

// ---- devices. None of these may be called before libtorch_cuda is opened: LibTorch remembers its first answer.

// deviceCount(): GPUs; deviceName(index): as the driver names it.
Napi::Value DeviceCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0);
}
Napi::Value DeviceName(const Napi::CallbackInfo& info) {
  const int index = info[0].As<Napi::Number>().Int32Value();
  // The driver's own C interface, so that no CUDA header is needed. LibTorch has opened and initialised it by now.
  using GetName = int (*)(char*, int, int);
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  const auto get_name = driver ? reinterpret_cast<GetName>(dlsym(driver, "cuDeviceGetName")) : nullptr;
  char name[256] = "";
  const bool known = HasCuda() && get_name != nullptr && get_name(name, sizeof name, index) == 0;
  return known ? Napi::Value(Napi::String::New(info.Env(), name)) : info.Env().Null();
}
Napi::Value SetDevice(const Napi::CallbackInfo& info) {
  TORCH_CHECK(HasCuda(), "there is no GPU that LibTorch can use");
  at::accelerator::setDeviceIndex(static_cast<c10::DeviceIndex>(info[0].As<Napi::Number>().Int32Value()));
  return info.Env().Undefined();
}
// synchronize(index): waits until all work queued on the GPU is done.
Napi::Value Synchronize(const Napi::CallbackInfo& info) {
  TORCH_CHECK(HasCuda(), "there is no GPU that LibTorch can use");
  at::accelerator::synchronizeDevice(static_cast<c10::DeviceIndex>(info[0].As<Napi::Number>().Int32Value()));
  return info.Env().Undefined();
}
// deviceMemory(index): bytes { free, total, allocated, peakAllocated, peakReserved }.
Napi::Value DeviceMemory(const Napi::CallbackInfo& info) {
  TORCH_CHECK(HasCuda(), "there is no GPU that LibTorch can use");
  const auto index = static_cast<c10::DeviceIndex>(info[0].As<Napi::Number>().Int32Value());
  constexpr size_t kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto stats = at::accelerator::getDeviceStats(index);
  const auto memory = at::accelerator::getMemoryInfo(index);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("free", static_cast<double>(memory.first));
  result.Set("total", static_cast<double>(memory.second));
  result.Set("allocated", static_cast<double>(stats.allocated_bytes[kAll].current));
  result.Set("peakAllocated", static_cast<double>(stats.allocated_bytes[kAll].peak));
  result.Set("peakReserved", static_cast<double>(stats.reserved_bytes[kAll].peak));
  return result;
}
Napi::Value ResetPeakMemory(const Napi::CallbackInfo& info) {
  TORCH_CHECK(HasCuda(), "there is no GPU that LibTorch can use");
  at::accelerator::resetPeakStats(static_cast<c10::DeviceIndex>(info[0].As<Napi::Number>().Int32Value()));
  return info.Env().Undefined();
}
Napi::Value EmptyCache(const Napi::CallbackInfo& info) {
  if (HasCuda()) at::accelerator::emptyCache();
  return info.Env().Undefined();
}

}  // namespace

void InitRuntime(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "manualSeed", ManualSeed, {Want::kNumber});
  Export(env, exports, "createGenerator", CreateGenerator, {Want::kNumber});
  Export(env, exports, "defaultGenerator", DefaultGenerator, {Want::kString});
  Export(env, exports, "generatorState", GeneratorState, {Want::kHandle});
  Export(env, exports, "setGeneratorState", SetGeneratorState, {Want::kHandle, Want::kHandle});
  Export(env, exports, "seedGenerator", SeedGenerator, {Want::kHandle, Want::kNumber});
  Export(env, exports, "setGradEnabled", SetGradEnabled, {Want::kBoolean});
  Export(env, exports, "enterAutocast", EnterAutocast, {Want::kString, Want::kNumber});
  Export(env, exports, "leaveAutocast", LeaveAutocast, {Want::kString});
  Export(env, exports, "setTf32", SetTf32, {Want::kBoolean});
  Export(env, exports, "getThreads", GetThreads, {});
  Export(env, exports, "setThreads", SetThreads, {Want::kNumber});
  Export(env, exports, "version", Version, {});
  Export(env, exports, "parallelInfo", ParallelInfo, {});
  Export(env, exports, "deviceCount", DeviceCount, {});
  Export(env, exports, "deviceName", DeviceName, {Want::kNumber});
  Export(env, exports, "setDevice", SetDevice, {Want::kNumber});
  Export(env, exports, "synchronize", Synchronize, {Want::kNumber});
  Export(env, exports, "deviceMemory", DeviceMemory, {Want::kNumber});
  Export(env, exports, "resetPeakMemory", ResetPeakMemory, {Want::kNumber});
  Export(env, exports, "emptyCache", EmptyCache, {});
}
