// What a program asks of a tensor handle and no operator tells: its shape, type and gradient; bytes in and out.
#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>

#include "convert.h"
#include "handles.h"

namespace {

Napi::Value IntArray(Napi::Env env, at::IntArrayRef list) {
  Napi::Array array = Napi::Array::New(env, list.size());
  for (size_t i = 0; i < list.size(); i++) array.Set(static_cast<uint32_t>(i), static_cast<double>(list[i]));
  return array;
}

// V8 schedules its GC by the memory that it knows of, and to it a tensor is a few bytes of JavaScript. Returns all
// bytes reported so far.
int64_t AdjustExternalMemory(Napi::Env env, int64_t bytes) {
  int64_t total = 0;
  napi_adjust_external_memory(env, bytes, &total);
  return total;
}

// trackExternal(handle): reports the memory of a tensor that only the GC will dispose of. Returns all bytes reported.
Napi::Value TrackExternal(const Napi::CallbackInfo& info) {
  const int64_t total = AdjustExternalMemory(info.Env(), ReportExternalMemory(HandleOf(info, 0)));
  return Napi::Number::New(info.Env(), static_cast<double>(total));
}

// dispose(handle): whether it was live. Disposing twice is harmless.
Napi::Value Dispose(const Napi::CallbackInfo& info) {
  int64_t reported = 0;
  const bool live = DropHandle(HandleOf(info, 0), &reported);
  if (reported > 0) AdjustExternalMemory(info.Env(), -reported);
  return Napi::Boolean::New(info.Env(), live);
}

// disposeAll(handles): how many were live.
Napi::Value DisposeAll(const Napi::CallbackInfo& info) {
  double dropped = 0;
  int64_t reported = 0;
  const int64_t fault = ReadArray(info.Env(), info[0], [&](napi_value element) {
    double handle;
    if (!ReadNumber(info.Env(), element, &handle) || !IsHandle(handle)) return false;
    if (DropHandle(handle, &reported)) dropped++;
    return true;
  });
  if (reported > 0) AdjustExternalMemory(info.Env(), -reported);
  if (fault != kFits) RejectArgument(info, 0, "an array of handles", fault);
  return Napi::Number::New(info.Env(), dropped);
}

Napi::Value LiveCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(LiveHandles()));
}
Napi::Value IsLiveHandle(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), IsLive(HandleOf(info, 0)));
}

// sizes(t), strides(t): number[]; dtype(t): ScalarType code; device(t): "cpu", "cuda:0".
Napi::Value Sizes(const Napi::CallbackInfo& info) { return IntArray(info.Env(), TensorOf(info, 0).sizes()); }
Napi::Value Strides(const Napi::CallbackInfo& info) { return IntArray(info.Env(), TensorOf(info, 0).strides()); }
Napi::Value Dtype(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(TensorOf(info, 0).scalar_type()));
}
Napi::Value DeviceOf(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), TensorOf(info, 0).device().str());
}

// alias(t): another handle of the same tensor, owned by no thread: it outlives the worker that made it, so it is the
// one to send to another thread.
Napi::Value Alias(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), PutHandle(TensorOf(info, 0), Ownership::kShared));
}

// item(t): the one element as number, boolean or bigint. On CUDA this waits for the device.
Napi::Value Item(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = TensorOf(info, 0);
  TORCH_CHECK(tensor.numel() == 1, "expected a tensor of one element but received one of ", tensor.numel());
  return Napi::Value(info.Env(), FromIValue(info.Env(), tensor.item()));
}

// The memory of JavaScript that argument 1 is, which must have the bytes of `tensor`.
Bytes BytesFor(const Napi::CallbackInfo& info, const at::Tensor& tensor) {
  const Bytes bytes = BytesOf(info, 1);
  if (bytes.size != tensor.nbytes())
    RejectArgument(info, 1, std::to_string(tensor.nbytes()) + " bytes", std::to_string(bytes.size));
  return bytes;
}

// writeBytes(t, source): the elements of a contiguous CPU tensor become a copy of the bytes.
void WriteBytes(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = TensorOf(info, 0).detach();
  const Bytes bytes = BytesFor(info, tensor);
  TORCH_CHECK(tensor.is_cpu() && tensor.is_contiguous(), "expected a contiguous tensor on the CPU");
  if (bytes.size > 0) std::memcpy(tensor.mutable_data_ptr(), bytes.data, bytes.size);
}

// toBytes(t, destination): copies the elements, in order, into the bytes. On CUDA this waits for the device.
void ToBytes(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = TensorOf(info, 0).detach();
  const Bytes bytes = BytesFor(info, tensor);
  if (bytes.size > 0) std::memcpy(bytes.data, tensor.to(at::kCPU).contiguous().const_data_ptr(), bytes.size);
}

// Gives back to the system what only the tensor from `first` to `end` lay over, with what was written there: of
// `viewed`, the memory that tensors of viewBytes lie over. Pages of a private mapping then have the file's content
// again.
void GivePagesBack(const std::multiset<std::pair<uintptr_t, uintptr_t>>& viewed, uintptr_t first, uintptr_t end) {
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t from = (first + page - 1) / page * page,
                  to = end / page * page;  // whole pages: others have neighbours
  const auto overlaps = [&](const auto& other) { return other.first < to && other.second > from; };
  if (from < to && std::none_of(viewed.begin(), viewed.end(), overlaps))
    madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
}

// viewBytes(bytes, byteOffset, dtype, sizes, strides): a tensor over the memory of a uint8 tensor, which maps a file.
// Autograd does not see whose view it is: else writing to one would be writing to all of them. Its pages go with it.
Napi::Value ViewBytes(const Napi::CallbackInfo& info) {
  static std::mutex mutex;
  static auto& viewed = *new std::multiset<std::pair<uintptr_t, uintptr_t>>;  // outlives all tensors
  const at::Tensor bytes = TensorOf(info, 0);
  const int64_t offset = IntegerOf(info, 1, 0, bytes.numel());
  const auto dtype = static_cast<at::ScalarType>(IntegerOf(info, 2, 0, static_cast<int>(at::kBFloat16)));
  if (c10::isQIntType(dtype)) RejectArgument(info, 2, "the code of a plain dtype");
  const auto element = static_cast<int64_t>(c10::elementSize(dtype));
  const std::vector<int64_t> sizes = IntegersOf(info, 3), strides = IntegersOf(info, 4);
  for (size_t i = 0; i < sizes.size(); i++)  // which as_strided trusts
    if (sizes[i] < 0) RejectArgument(info, 3, "integers of 0 or more", static_cast<int64_t>(i));
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const int64_t end = offset + (bytes.numel() - offset) / element * element;
  const at::Tensor view = bytes.slice(0, offset, end).view(dtype).as_strided(sizes, strides);
  const auto first = reinterpret_cast<uintptr_t>(view.const_data_ptr());
  const auto range = std::make_pair(first, first + at::detail::computeStorageNbytes(sizes, strides, element));
  const auto leave = [bytes, range](void*) {
    const std::lock_guard<std::mutex> lock(mutex);
    viewed.erase(viewed.find(range));
    GivePagesBack(viewed, range.first, range.second);
  };
  const std::lock_guard<std::mutex> lock(mutex);
  viewed.insert(range);
  return Napi::Number::New(info.Env(),
                           PutHandle(at::from_blob(view.data_ptr(), sizes, strides, leave, view.options())));
}

// recordEvent(device): an event after all work that is queued on the device by now.
Napi::Value RecordEvent(const Napi::CallbackInfo& info) {
  const c10::Device device = DeviceArgument(info, 0);
  TORCH_CHECK(!device.is_cpu(), "nothing is queued on the CPU");
  auto event = std::make_shared<c10::Event>(device.type());
  event->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  return Napi::Number::New(info.Env(), PutHandle(std::move(event)));
}

// waitFor(event): until the work that was queued before it is done, whatever has been queued since.
void WaitFor(const Napi::CallbackInfo& info) {
  std::shared_ptr<c10::Event> event;
  if (!GetEvent(HandleOf(info, 0), &event)) RejectArgument(info, 0, "an event");
  if (!event->query()) event->synchronize();
}

// requiresGrad(t), setRequiresGrad(t, flag), grad(t): handle or null, clearGrad(t).
Napi::Value RequiresGrad(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), TensorOf(info, 0).requires_grad());
}
void SetRequiresGrad(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = TensorOf(info, 0);
  TORCH_CHECK(tensor.is_leaf(), "requires_grad can be changed only on a leaf tensor, not on the result of an operator");
  tensor.set_requires_grad(BooleanOf(info, 1));
}
Napi::Value Grad(const Napi::CallbackInfo& info) {
  return Napi::Value(info.Env(), FromIValue(info.Env(), c10::IValue(TensorOf(info, 0).grad())));
}
void ClearGrad(const Napi::CallbackInfo& info) { TensorOf(info, 0).mutable_grad().reset(); }

// backward(t, retainGraph): adds d t / d leaf to the leaves' gradients; t has one element. Blocks this thread.
void Backward(const Napi::CallbackInfo& info) { TensorOf(info, 0).backward({}, BooleanOf(info, 1)); }

}  // namespace

void InitTensor(Napi::Env env, Napi::Object exports) {
  const Parameter handle{"handle", kHandle}, tensor{"tensor", kHandle};
  Export(env, exports, "trackExternal", TrackExternal, {handle});
  Export(env, exports, "dispose", Dispose, {handle});
  Export(env, exports, "disposeAll", DisposeAll, {{"handles", kArray}});
  Export(env, exports, "liveHandles", LiveCount, {});
  Export(env, exports, "isLive", IsLiveHandle, {handle});
  Export(env, exports, "sizes", Sizes, {tensor});
  Export(env, exports, "strides", Strides, {tensor});
  Export(env, exports, "dtype", Dtype, {tensor});
  Export(env, exports, "device", DeviceOf, {tensor});
  Export(env, exports, "alias", Alias, {tensor});
  Export(env, exports, "item", Item, {tensor});
  Export(env, exports, "writeBytes", WriteBytes, {tensor, {"source", kBytes}});
  Export(env, exports, "toBytes", ToBytes, {tensor, {"destination", kBytes}});
  Export(env, exports, "viewBytes", ViewBytes,
         {{"bytes", kHandle}, {"byteOffset", kInteger}, {"dtype", kInteger}, {"sizes", kArray}, {"strides", kArray}});
  Export(env, exports, "recordEvent", RecordEvent, {{"device", kString}});
  Export(env, exports, "waitFor", WaitFor, {{"event", kHandle}});
  Export(env, exports, "requiresGrad", RequiresGrad, {tensor});
  Export(env, exports, "setRequiresGrad", SetRequiresGrad, {tensor, {"flag", kBoolean}});
  Export(env, exports, "grad", Grad, {tensor});
  Export(env, exports, "clearGrad", ClearGrad, {tensor});
  Export(env, exports, "backward", Backward, {tensor, {"retainGraph", kBoolean}});
}
