// What a program asks of a tensor handle: its shape, type and gradient; bytes in and out; mapped files.
#include <ATen/Functions.h>
#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "convert.h"
#include "handles.h"

namespace {

Napi::Value Handle(Napi::Env env, Held held) { return Napi::Number::New(env, PutHandle(std::move(held))); }

// Element types whose elements are plain bytes: not the quantized ones, which need more than a type.
bool IsPlainDtype(int64_t code) {
  const auto dtype = static_cast<at::ScalarType>(code);
  return code >= 0 && code < static_cast<int64_t>(at::ScalarType::NumOptions) &&
         (at::isIntegralType(dtype, true) || at::isFloatingType(dtype) || at::isComplexType(dtype));
}
at::ScalarType DtypeOf(const Napi::CallbackInfo& info, size_t index) {
  const int64_t code = IntegerOf(info, index, 0, static_cast<int64_t>(at::ScalarType::NumOptions) - 1);
  if (!IsPlainDtype(code)) RejectArgument(info, index, "the code of a plain dtype");
  return static_cast<at::ScalarType>(code);
}

std::vector<int64_t> SizesOf(const Napi::CallbackInfo& info, size_t index) {
  std::vector<int64_t> sizes = IntegersOf(info, index);
  for (size_t i = 0; i < sizes.size(); i++)
    if (sizes[i] < 0) RejectArgument(info, index, "integers of 0 or more", static_cast<int64_t>(i));
  return sizes;
}

// Number of elements of a tensor with these sizes.
int64_t CountOf(const std::vector<int64_t>& sizes) {
  int64_t count = 1;
  for (const int64_t size : sizes)
    TORCH_CHECK(!__builtin_mul_overflow(count, size, &count) && count < int64_t{1} << 52, "the sizes ", sizes,
                " are larger than the address space");
  return count;
}

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

// sizes(t), strides(t): number[]; dtype(t): ScalarType code; device(t): "cpu", "cuda:0"; nbytes(t): elements times
// their size.
Napi::Value Sizes(const Napi::CallbackInfo& info) { return IntArray(info.Env(), TensorOf(info, 0).sizes()); }
Napi::Value Strides(const Napi::CallbackInfo& info) { return IntArray(info.Env(), TensorOf(info, 0).strides()); }
Napi::Value Dtype(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(TensorOf(info, 0).scalar_type()));
}
Napi::Value DeviceOf(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), TensorOf(info, 0).device().str());
}
Napi::Value NumBytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(TensorOf(info, 0).nbytes()));
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
  const at::Scalar scalar = tensor.item();
  if (scalar.isBoolean()) return Napi::Boolean::New(info.Env(), scalar.toBool());
  return Napi::Value(info.Env(), FromIValue(info.Env(), scalar.isIntegral(false) ? c10::IValue(scalar.toLong())
                                                                                 : c10::IValue(scalar.toDouble())));
}

// Bytes of JavaScript, and the tensor that they are to become.
struct HostArray {
  Bytes bytes;
  at::ScalarType dtype;
  std::vector<int64_t> sizes;

  void CheckSize(const char* name) const {
    const int64_t expected = CountOf(sizes) * static_cast<int64_t>(c10::elementSize(dtype));
    TORCH_CHECK(expected == static_cast<int64_t>(bytes.size), "expected ", expected, " bytes for ", name,
                " but received ", bytes.size);
  }
  at::Tensor OnHost() const {
    const at::Tensor tensor = at::empty(sizes, at::TensorOptions().dtype(dtype));
    if (bytes.size > 0) std::memcpy(tensor.mutable_data_ptr(), bytes.data, bytes.size);
    return tensor;
  }
};

// fromBytes(bytes, dtype, sizes): a new contiguous CPU tensor with a copy of the bytes.
Napi::Value FromBytes(const Napi::CallbackInfo& info) {
  HostArray array{{nullptr, 0}, DtypeOf(info, 1), SizesOf(info, 2)};
  array.bytes = BytesOf(info, 0);  // after the sizes: reading those can run JavaScript
  array.CheckSize("bytes");
  return Handle(info.Env(), array.OnHost());
}

// The arguments arrays, dtypes and sizes of upload().
std::vector<HostArray> HostArraysOf(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  std::vector<HostArray> arrays;
  const std::vector<int64_t> codes = IntegersOf(info, 1);
  for (size_t i = 0; i < codes.size(); i++) {
    if (!IsPlainDtype(codes[i])) RejectArgument(info, 1, "the codes of plain dtypes", static_cast<int64_t>(i));
    arrays.push_back({{nullptr, 0}, static_cast<at::ScalarType>(codes[i]), {}});
  }
  size_t shapes = 0;
  const auto read_size = [&](std::vector<int64_t>* sizes, napi_value value) {
    int64_t size;
    if (!ReadInt(env, value, &size) || size < 0) return false;
    sizes->push_back(size);
    return true;
  };
  const int64_t bad_shape = ReadArray(env, info[2], [&](napi_value list) {
    std::vector<int64_t> sizes;
    if (ReadArray(env, list, [&](napi_value value) { return read_size(&sizes, value); }) != kFits) return false;
    if (shapes < arrays.size()) arrays[shapes].sizes = std::move(sizes);
    shapes++;
    return true;
  });
  if (bad_shape != kFits) RejectArgument(info, 2, "an array of arrays of integers of 0 or more", bad_shape);
  std::vector<napi_value> values;
  const int64_t bad_array = ReadArray(env, info[0], [&](napi_value value) {
    values.push_back(value);
    Bytes bytes;
    return ReadBytes(env, value, &bytes);
  });
  if (bad_array != kFits) RejectArgument(info, 0, "an array of Uint8Arrays", bad_array);
  TORCH_CHECK(values.size() == codes.size() && shapes == codes.size(), "expected as many dtypes and sizes as arrays");
  for (size_t i = 0; i < values.size(); i++) {
    ReadBytes(env, values[i], &arrays[i].bytes);  // now that no JavaScript runs any more
    arrays[i].CheckSize("an array");
  }
  return arrays;
}

// upload(arrays, dtypes, sizes, device): for each Uint8Array a contiguous tensor on the device with a copy of its
// bytes. On a GPU they are views of one block, which a single copy from pinned memory fills. Nobody waits for that
// copy: work that is queued later finds it done, and the allocator keeps the pinned memory for as long.
Napi::Value Upload(const Napi::CallbackInfo& info) {
  constexpr int64_t kAlignment = 16;  // of each tensor: the most that a kernel loads at once
  const c10::Device device = DeviceArgument(info, 3);
  const std::vector<HostArray> arrays = HostArraysOf(info);
  Napi::Array handles = Napi::Array::New(info.Env());
  const auto put = [&](at::Tensor tensor) { handles.Set(handles.Length(), Handle(info.Env(), std::move(tensor))); };
  if (device.is_cpu()) {
    for (const HostArray& array : arrays) put(array.OnHost());
    return handles;
  }
  std::vector<int64_t> starts{0};
  for (const HostArray& array : arrays)
    starts.push_back((starts.back() + static_cast<int64_t>(array.bytes.size) + kAlignment - 1) / kAlignment *
                     kAlignment);
  const at::Tensor pinned = at::empty({starts.back()}, at::TensorOptions().dtype(at::kByte).pinned_memory(true));
  auto* memory = static_cast<uint8_t*>(pinned.mutable_data_ptr());
  for (size_t i = 0; i < arrays.size(); i++)
    if (arrays[i].bytes.size > 0) std::memcpy(memory + starts[i], arrays[i].bytes.data, arrays[i].bytes.size);
  const at::Tensor block = pinned.to(device, at::kByte, /*non_blocking=*/true);
  for (size_t i = 0; i < arrays.size(); i++) {
    const at::Tensor bytes = block.narrow(0, starts[i], static_cast<int64_t>(arrays[i].bytes.size));
    put(bytes.view(arrays[i].dtype).view(arrays[i].sizes));
  }
  return handles;
}

// toBytes(t, destination): copies the elements, in order, into the bytes. On CUDA this waits for the device.
Napi::Value ToBytes(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = TensorOf(info, 0).detach();
  const Bytes bytes = BytesOf(info, 1);
  TORCH_CHECK(tensor.nbytes() == bytes.size, "expected ", tensor.nbytes(), " bytes for destination but received ",
              bytes.size);
  if (bytes.size > 0) std::memcpy(bytes.data, tensor.to(at::kCPU).contiguous().const_data_ptr(), bytes.size);
  return info.Env().Undefined();
}

// startReading(tensors): { host, event }: CPU tensors with their elements, and what to wait for before these are read;
// null where nothing has to be waited for. On a GPU the elements are copied into pinned memory, after all work that is
// queued by now.
Napi::Value StartReading(const Napi::CallbackInfo& info) {
  std::optional<c10::Device> device;
  Napi::Array host = Napi::Array::New(info.Env());
  for (const at::Tensor& tensor : TensorsOf(info, 0)) {
    at::Tensor values = tensor.detach();
    if (!values.is_cpu()) {
      TORCH_CHECK(!device || *device == values.device(), "expected tensors of one device but received some of ",
                  device->str(), " and of ", values.device().str());
      device = values.device();
      at::Tensor pinned = at::empty(values.sizes(), values.options().device(at::kCPU).pinned_memory(true));
      pinned.copy_(values, /*non_blocking=*/true);
      values = pinned;
    }
    host.Set(host.Length(), Handle(info.Env(), values));
  }
  Napi::Object reading = Napi::Object::New(info.Env());
  reading.Set("host", host);
  reading.Set("event", info.Env().Null());
  if (device) {
    auto event = std::make_shared<c10::Event>(device->type());
    event->record(c10::impl::VirtualGuardImpl(device->type()).getStream(*device));
    reading.Set("event", Handle(info.Env(), std::move(event)));
  }
  return reading;
}

// waitFor(event): until the work that was queued before it is done, whatever has been queued since.
Napi::Value WaitFor(const Napi::CallbackInfo& info) {
  std::shared_ptr<c10::Event> event;
  if (!GetEvent(HandleOf(info, 0), &event)) RejectArgument(info, 0, "an event");
  if (!event->query()) event->synchronize();
  return info.Env().Undefined();
}

// mapFile(path): { handle, size }. The file is mapped privately; while mapped it may be replaced but never truncated.
Napi::Value MapFile(const Napi::CallbackInfo& info) {
  auto mapped = std::make_shared<MappedFile>();
  mapped->path = StringOf(info, 0);
  if (mapped->path.find('\0') != std::string::npos) RejectArgument(info, 0, "a path without a null character");
  // Without O_NONBLOCK opening a named pipe would wait for a writer.
  const int descriptor = open(mapped->path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  TORCH_CHECK(descriptor >= 0, "cannot open ", mapped->path, ": ", std::strerror(errno));
  struct stat status{};
  const bool regular = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0;
  void* data = MAP_FAILED;
  if (regular)
    data = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0);
  const int error = errno;
  close(descriptor);
  TORCH_CHECK(regular, mapped->path, " is not a regular file with content");
  TORCH_CHECK(data != MAP_FAILED, "cannot map ", mapped->path, ": ", std::strerror(error));
  mapped->data = data;
  mapped->size = static_cast<size_t>(status.st_size);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("size", static_cast<double>(mapped->size));
  result.Set("handle", PutHandle(std::move(mapped)));
  return result;
}

// fromMapping(mapping, byteOffset, dtype, sizes, strides): a tensor over the mapped bytes, without a copy; strides and
// sizes are in elements. Writing to it changes only this process's private pages.
Napi::Value FromMapping(const Napi::CallbackInfo& info) {
  std::shared_ptr<MappedFile> mapping;
  if (!GetMapping(HandleOf(info, 0), &mapping)) RejectArgument(info, 0, "a mapped file");
  const int64_t offset = IntegerOf(info, 1, 0);
  const at::ScalarType dtype = DtypeOf(info, 2);
  const std::vector<int64_t> sizes = SizesOf(info, 3);
  const std::vector<int64_t> strides = SizesOf(info, 4);
  const int64_t element = static_cast<int64_t>(c10::elementSize(dtype));
  TORCH_CHECK(sizes.size() == strides.size(), "expected as many strides as sizes");
  TORCH_CHECK(offset % element == 0, "the offset ", offset, " is not aligned to ", element, " bytes");
  const int64_t limit =
      (static_cast<int64_t>(mapping->size) - offset) / element;  // elements from the offset to the end
  int64_t last = 0;
  const bool empty = CountOf(sizes) == 0;
  for (size_t d = 0; d < sizes.size() && !empty; d++) {
    int64_t reach = 0;
    const bool overflow =
        __builtin_mul_overflow(sizes[d] - 1, strides[d], &reach) || __builtin_add_overflow(last, reach, &last);
    TORCH_CHECK(!overflow, "sizes and strides are larger than the address space");
  }
  TORCH_CHECK(empty || (limit > 0 && last < limit), "the tensor extends beyond the end of ", mapping->path);
  auto* base = static_cast<uint8_t*>(mapping->data) + offset;
  const auto options = at::TensorOptions().dtype(dtype);
  if (empty) return Handle(info.Env(), at::empty_strided(sizes, strides, options));
  return Handle(info.Env(), at::from_blob(base, sizes, strides, [mapping](void*) {}, options));
}

// requiresGrad(t), setRequiresGrad(t, flag), grad(t): handle or null, clearGrad(t).
Napi::Value RequiresGrad(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), TensorOf(info, 0).requires_grad());
}
Napi::Value SetRequiresGrad(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = TensorOf(info, 0);
  TORCH_CHECK(tensor.is_leaf(), "requires_grad can be changed only on a leaf tensor, not on the result of an operator");
  tensor.set_requires_grad(BooleanOf(info, 1));
  return info.Env().Undefined();
}
Napi::Value Grad(const Napi::CallbackInfo& info) {
  return Napi::Value(info.Env(), FromIValue(info.Env(), c10::IValue(TensorOf(info, 0).grad())));
}
Napi::Value ClearGrad(const Napi::CallbackInfo& info) {
  TensorOf(info, 0).mutable_grad().reset();
  return info.Env().Undefined();
}

// backward(t, retainGraph): adds d t / d leaf to the leaves' gradients; t has one element. Blocks this thread.
Napi::Value Backward(const Napi::CallbackInfo& info) {
  TensorOf(info, 0).backward({}, BooleanOf(info, 1));
  return info.Env().Undefined();
}

}  // namespace

void InitTensor(Napi::Env env, Napi::Object exports) {
  const Parameter handle{"handle", ArgKind::kHandle}, tensor{"tensor", ArgKind::kHandle},
      dtype{"dtype", ArgKind::kInteger};
  const Parameter sizes{"sizes", ArgKind::kArray};
  Export(env, exports, "trackExternal", TrackExternal, {handle});
  Export(env, exports, "dispose", Dispose, {handle});
  Export(env, exports, "disposeAll", DisposeAll, {{"handles", ArgKind::kArray}});
  Export(env, exports, "liveHandles", LiveCount, {});
  Export(env, exports, "isLive", IsLiveHandle, {handle});
  Export(env, exports, "sizes", Sizes, {tensor});
  Export(env, exports, "strides", Strides, {tensor});
  Export(env, exports, "dtype", Dtype, {tensor});
  Export(env, exports, "device", DeviceOf, {tensor});
  Export(env, exports, "nbytes", NumBytes, {tensor});
  Export(env, exports, "alias", Alias, {tensor});
  Export(env, exports, "item", Item, {tensor});
  Export(env, exports, "fromBytes", FromBytes, {{"bytes", ArgKind::kBytes}, dtype, sizes});
  Export(env, exports, "toBytes", ToBytes, {tensor, {"destination", ArgKind::kBytes}});
  Export(env, exports, "upload", Upload,
         {{"arrays", ArgKind::kArray}, {"dtypes", ArgKind::kArray}, sizes, {"device", ArgKind::kString}});
  Export(env, exports, "startReading", StartReading, {{"tensors", ArgKind::kArray}});
  Export(env, exports, "waitFor", WaitFor, {{"event", ArgKind::kHandle}});
  Export(env, exports, "mapFile", MapFile, {{"path", ArgKind::kString}});
  Export(
      env, exports, "fromMapping", FromMapping,
      {{"mapping", ArgKind::kHandle}, {"byteOffset", ArgKind::kInteger}, dtype, sizes, {"strides", ArgKind::kArray}});
  Export(env, exports, "requiresGrad", RequiresGrad, {tensor});
  Export(env, exports, "setRequiresGrad", SetRequiresGrad, {tensor, {"flag", ArgKind::kBoolean}});
  Export(env, exports, "grad", Grad, {tensor});
  Export(env, exports, "clearGrad", ClearGrad, {tensor});
  Export(env, exports, "backward", Backward, {tensor, {"retainGraph", ArgKind::kBoolean}});
}
