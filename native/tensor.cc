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

// V8 schedules its GC by the memory that it knows of, and to it a tensor is a few bytes of JavaScript. Returns all
// bytes reported so far.
int64_t AdjustExternalMemory(Napi::Env env, int64_t bytes) {
  int64_t total = 0;
  napi_adjust_external_memory(env, bytes, &total);
  return total;
}

// trackExternal(handle): reports the memory of a tensor that only the GC will dispose of. Returns all bytes reported.
int64_t TrackExternal(Info info) { return AdjustExternalMemory(info.Env(), ReportExternalMemory(HandleOf(info, 0))); }

// dispose(handle): whether it was live. Disposing twice is harmless.
bool Dispose(Info info) {
  const std::optional<int64_t> reported = DropHandle(HandleOf(info, 0));
  if (reported.value_or(0) > 0) AdjustExternalMemory(info.Env(), -*reported);
  return reported.has_value();
}

// disposeAll(handles): how many were live.
int DisposeAll(Info info) {
  int dropped = 0;
  int64_t reported = 0;
  const int64_t fault = ReadArray(info.Env(), info[0], [&](napi_value element) {
    double handle;
    if (!ReadNumber(info.Env(), element, &handle) || !IsHandle(handle)) return false;
    const std::optional<int64_t> bytes = DropHandle(handle);
    dropped += bytes.has_value();
    reported += bytes.value_or(0);
    return true;
  });
  if (reported > 0) AdjustExternalMemory(info.Env(), -reported);
  if (fault != kFits) RejectArgument(info, 0, "an array of handles", fault);
  return dropped;
}

// item(t): the one element as number, boolean or bigint. On CUDA this waits for the device.
Napi::Value Item(Info info) {
  const at::Tensor tensor = TensorOf(info, 0);
  TORCH_CHECK(tensor.numel() == 1, "expected a tensor of one element but received one of ", tensor.numel());
  return {info.Env(), FromIValue(info.Env(), tensor.item())};
}

// writeBytes(t, source): the elements of a contiguous CPU tensor become a copy of the bytes.
void WriteBytes(Info info) {
  const at::Tensor tensor = TensorOf(info, 0).detach();
  const Bytes bytes = BytesOf(info, 1, tensor.nbytes());
  TORCH_CHECK(tensor.is_cpu() && tensor.is_contiguous(), "expected a contiguous tensor on the CPU");
  if (bytes.size > 0) std::memcpy(tensor.mutable_data_ptr(), bytes.data, bytes.size);
}

// toBytes(t, destination): copies the elements, in order, into the bytes. On CUDA this waits for the device.
void ToBytes(Info info) {
  const at::Tensor tensor = TensorOf(info, 0).detach();
  const Bytes bytes = BytesOf(info, 1, tensor.nbytes());
  if (bytes.size > 0) std::memcpy(bytes.data, tensor.to(at::kCPU).contiguous().const_data_ptr(), bytes.size);
}

// Gives back to the system what only the tensor from `first` to `end` lay over, with what was written there: of
// `viewed`, the memory that tensors of viewBytes lie over. Pages of a private mapping then have the file's content
// again. Only whole pages: others have neighbours.
void GivePagesBack(const std::multiset<std::pair<uintptr_t, uintptr_t>>& viewed, uintptr_t first, uintptr_t end) {
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t from = (first + page - 1) / page * page, to = end / page * page;
  const auto overlaps = [&](const auto& other) { return other.first < to && other.second > from; };
  if (from < to && std::none_of(viewed.begin(), viewed.end(), overlaps))
    madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
}

// viewBytes(bytes, byteOffset, dtype, sizes, strides): a tensor over the memory of a uint8 tensor, which maps a file.
// Autograd does not see whose view it is: else writing to one would be writing to all of them. Its pages go with it.
double ViewBytes(Info info) {
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
  return PutHandle(at::from_blob(view.data_ptr(), sizes, strides, leave, view.options()));
}

// recordEvent(device): an event after all work that is queued on the device by now.
double RecordEvent(Info info) {
  const c10::Device device = DeviceArgument(info, 0);
  TORCH_CHECK(!device.is_cpu(), "nothing is queued on the CPU");
  auto event = std::make_shared<c10::Event>(device.type());
  event->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  return PutHandle(std::move(event));
}

// waitFor(event): until the work that was queued before it is done, whatever has been queued since.
void WaitFor(Info info) {
  std::shared_ptr<c10::Event> event;
  if (!GetHeld(HandleOf(info, 0), &event)) RejectArgument(info, 0, "an event");
  if (!event->query()) event->synchronize();
}

void SetRequiresGrad(Info info) {
  const at::Tensor tensor = TensorOf(info, 0);
  TORCH_CHECK(tensor.is_leaf(), "requires_grad can be changed only on a leaf tensor, not on the result of an operator");
  tensor.set_requires_grad(BooleanOf(info, 1));
}
Napi::Value Grad(Info info) { return {info.Env(), FromIValue(info.Env(), c10::IValue(TensorOf(info, 0).grad()))}; }

// backward(t, retainGraph): adds d t / d leaf to the leaves' gradients; t has one element. Blocks this thread.
void Backward(Info info) { TensorOf(info, 0).backward({}, BooleanOf(info, 1)); }

}  // namespace

void InitTensor(Napi::Env env, Napi::Object exports) {
  const Parameter handle{"handle", kHandle}, tensor{"tensor", kHandle};
  Export(env, exports, "trackExternal", TrackExternal, {handle});
  Export(env, exports, "dispose", Dispose, {handle});
  Export(env, exports, "disposeAll", DisposeAll, {{"handles", kArray}});
  Export(env, exports, "liveHandles", [](Info) { return LiveHandles(); }, {});
  Export(env, exports, "isLive", [](Info info) { return IsLive(HandleOf(info, 0)); }, {handle});
  Export(env, exports, "sizes", [](Info info) { return TensorOf(info, 0).sizes().vec(); }, {tensor});
  Export(env, exports, "strides", [](Info info) { return TensorOf(info, 0).strides().vec(); }, {tensor});
  // A ScalarType's code; "cpu", "cuda:0".
  Export(env, exports, "dtype", [](Info info) { return static_cast<int>(TensorOf(info, 0).scalar_type()); }, {tensor});
  Export(env, exports, "device", [](Info info) { return TensorOf(info, 0).device().str(); }, {tensor});
  // Another handle of the same tensor, owned by no thread: it outlives the worker that made it, so it is the one to
  // send to another thread.
  Export(env, exports, "alias", [](Info info) { return PutHandle(TensorOf(info, 0), Ownership::kShared); }, {tensor});
  Export(env, exports, "item", Item, {tensor});
  Export(env, exports, "writeBytes", WriteBytes, {tensor, {"source", kBytes}});
  Export(env, exports, "toBytes", ToBytes, {tensor, {"destination", kBytes}});
  Export(env, exports, "viewBytes", ViewBytes,
         {{"bytes", kHandle}, {"byteOffset", kInteger}, {"dtype", kInteger}, {"sizes", kArray}, {"strides", kArray}});
  Export(env, exports, "recordEvent", RecordEvent, {{"device", kString}});
  Export(env, exports, "waitFor", WaitFor, {{"event", kHandle}});
  Export(env, exports, "requiresGrad", [](Info info) { return TensorOf(info, 0).requires_grad(); }, {tensor});
  Export(env, exports, "setRequiresGrad", SetRequiresGrad, {tensor, {"flag", kBoolean}});
  Export(env, exports, "grad", Grad, {tensor});  // a handle or null
  Export(env, exports, "clearGrad", [](Info info) { TensorOf(info, 0).mutable_grad().reset(); }, {tensor});
  Export(env, exports, "backward", Backward, {tensor, {"retainGraph", kBoolean}});
}
