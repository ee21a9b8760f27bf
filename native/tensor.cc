// What a tensor handle tells and gives: shape, type, bytes in and out, mapped files, gradients.
#include <ATen/Functions.h>
#include <ATen/core/Tensor.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "convert.h"
#include "exports.h"
#include "handles.h"

namespace {

at::Tensor TensorOf(const Napi::Value& value) {
  at::Tensor tensor;
  if (!GetTensor(value.As<Napi::Number>(), &tensor))
    C10_THROW_ERROR(TypeError, "expected a live tensor but received a handle that was disposed, never existed or is no tensor");
  return tensor;
}

Napi::Value Handle(Napi::Env env, Held held) { return Napi::Number::New(env, PutHandle(std::move(held))); }

at::ScalarType DtypeOf(const Napi::Value& value) {
  const int64_t code = value.As<Napi::Number>().Int64Value();
  TORCH_CHECK(code >= 0 && code < static_cast<int64_t>(at::ScalarType::NumOptions), "no dtype has the code ", code);
  return static_cast<at::ScalarType>(code);
}

Napi::Value IntArray(Napi::Env env, at::IntArrayRef list) {
  Napi::Array array = Napi::Array::New(env, list.size());
  for (size_t i = 0; i < list.size(); i++) array.Set(static_cast<uint32_t>(i), static_cast<double>(list[i]));
  return array;
}

// dispose(handle): whether it was live. Disposing twice, or a number that never was a handle, is harmless.
Napi::Value Dispose(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), DropHandle(info[0].As<Napi::Number>())); }

// disposeAll(handles): how many were live.
Napi::Value DisposeAll(const Napi::CallbackInfo& info) {
  const Napi::Array handles = info[0].As<Napi::Array>();
  double dropped = 0;
  for (uint32_t i = 0; i < handles.Length(); i++) {
    double handle;
    const Napi::Value value = handles[i];
    if (ReadNumber(info.Env(), value, &handle) && DropHandle(handle)) dropped++;
  }
  return Napi::Number::New(info.Env(), dropped);
}

Napi::Value LiveCount(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), static_cast<double>(LiveHandles())); }
Napi::Value IsLiveHandle(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), IsLive(info[0].As<Napi::Number>())); }

// sizes(t), strides(t): number[]; dtype(t): ScalarType code; device(t): "cpu", "cuda:0"; nbytes(t): numel * element size.
Napi::Value Sizes(const Napi::CallbackInfo& info) { return IntArray(info.Env(), TensorOf(info[0]).sizes()); }
Napi::Value Strides(const Napi::CallbackInfo& info) { return IntArray(info.Env(), TensorOf(info[0]).strides()); }
Napi::Value Dtype(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(TensorOf(info[0]).scalar_type()));
}
Napi::Value DeviceOf(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), TensorOf(info[0]).device().str()); }
Napi::Value NumBytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(TensorOf(info[0]).nbytes()));
}
// dataPointer(t): the address as a number, to tell whether two tensors share memory.
Napi::Value DataPointer(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(reinterpret_cast<uintptr_t>(TensorOf(info[0]).const_data_ptr())));
}

// clone(t): another handle of the same tensor, for an owner of its own.
Napi::Value Alias(const Napi::CallbackInfo& info) { return Handle(info.Env(), TensorOf(info[0])); }

// item(t): the one element as number, boolean or bigint. On CUDA this waits for the device.
Napi::Value Item(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = TensorOf(info[0]);
  TORCH_CHECK(tensor.numel() == 1, "expected a tensor of one element but received one of ", tensor.numel());
  const at::Scalar scalar = tensor.item();
  if (scalar.isBoolean()) return Napi::Boolean::New(info.Env(), scalar.toBool());
  return Napi::Value(info.Env(), FromIValue(info.Env(), scalar.isIntegral(false) ? c10::IValue(scalar.toLong()) : c10::IValue(scalar.toDouble())));
}

// fromBytes(bytes, dtype, sizes): a new contiguous CPU tensor with a copy of the bytes.
Napi::Value FromBytes(const Napi::CallbackInfo& info) {
  const Bytes bytes = BytesOf(info[0]);
  const at::Tensor tensor = at::empty(ReadIntList(info[2], "sizes"), at::TensorOptions().dtype(DtypeOf(info[1])));
  TORCH_CHECK(tensor.nbytes() == bytes.size, "expected ", tensor.nbytes(), " bytes for this shape and dtype but received ", bytes.size);
  if (bytes.size > 0) std::memcpy(tensor.mutable_data_ptr(), bytes.data, bytes.size);
  return Handle(info.Env(), tensor);
}

// toBytes(t, destination): copies the elements, in order, into the bytes. On CUDA this waits for the device.
Napi::Value ToBytes(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = TensorOf(info[0]).detach().to(at::kCPU).contiguous();
  const Bytes bytes = BytesOf(info[1]);
  TORCH_CHECK(tensor.nbytes() == bytes.size, "expected ", tensor.nbytes(), " bytes of room but received ", bytes.size);
  if (bytes.size > 0) std::memcpy(bytes.data, tensor.const_data_ptr(), bytes.size);
  return info.Env().Undefined();
}

// mapFile(path): { handle, size }. The file is mapped privately; it must be replaced, never truncated, while mapped.
Napi::Value MapFile(const Napi::CallbackInfo& info) {
  auto mapped = std::make_shared<MappedFile>();
  mapped->path = info[0].As<Napi::String>();
  const int descriptor = open(mapped->path.c_str(), O_RDONLY | O_CLOEXEC);
  TORCH_CHECK(descriptor >= 0, "cannot open ", mapped->path, ": ", std::strerror(errno));
  struct stat status {};
  const bool regular = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0;
  void* data = MAP_FAILED;
  if (regular) data = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0);
  const int error = errno;
  close(descriptor);
  TORCH_CHECK(regular, mapped->path, " is no regular file with content");
  TORCH_CHECK(data != MAP_FAILED, "cannot map ", mapped->path, ": ", std::strerror(error));
  mapped->data = data;
  mapped->size = static_cast<size_t>(status.st_size);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("size", static_cast<double>(mapped->size));
  result.Set("handle", PutHandle(std::move(mapped)));
  return result;
}

// fromMapping(mapping, byteOffset, dtype, sizes, strides): a tensor over the mapped bytes, without a copy; strides and
// sizes are in elements. Writing to it changes this process's private pages only.
Napi::Value FromMapping(const Napi::CallbackInfo& info) {
  std::shared_ptr<MappedFile> mapping;
  if (!GetMapping(info[0].As<Napi::Number>(), &mapping)) C10_THROW_ERROR(TypeError, "expected a live file mapping");
  const int64_t offset = info[1].As<Napi::Number>().Int64Value();
  const at::ScalarType dtype = DtypeOf(info[2]);
  const std::vector<int64_t> sizes = ReadIntList(info[3], "sizes");
  const std::vector<int64_t> strides = ReadIntList(info[4], "strides");
  const int64_t element = static_cast<int64_t>(c10::elementSize(dtype));
  TORCH_CHECK(sizes.size() == strides.size(), "expected as many strides as sizes");
  TORCH_CHECK(offset >= 0 && offset % element == 0, "the offset ", offset, " is negative or not aligned to ", element, " bytes");
  const int64_t limit = (static_cast<int64_t>(mapping->size) - offset) / element;  // elements from the offset to the end
  int64_t last = 0;
  bool empty = false;
  for (size_t d = 0; d < sizes.size(); d++) {
    TORCH_CHECK(sizes[d] >= 0 && strides[d] >= 0, "sizes and strides must not be negative");
    if (sizes[d] == 0) empty = true;
    int64_t reach = 0;
    const bool overflow = sizes[d] > 0 && (__builtin_mul_overflow(sizes[d] - 1, strides[d], &reach) || __builtin_add_overflow(last, reach, &last));
    TORCH_CHECK(!overflow, "sizes and strides reach beyond what can be addressed");
  }
  TORCH_CHECK(empty || (limit > 0 && last < limit), "the tensor reaches beyond the end of ", mapping->path);
  auto* base = static_cast<uint8_t*>(mapping->data) + offset;
  const auto options = at::TensorOptions().dtype(dtype);
  if (empty) return Handle(info.Env(), at::empty_strided(sizes, strides, options));
  return Handle(info.Env(), at::from_blob(base, sizes, strides, [mapping](void*) {}, options));
}

// requiresGrad(t), setRequiresGrad(t, flag), isLeaf(t), grad(t): handle or null, setGrad(t, gradient handle).
Napi::Value RequiresGrad(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), TensorOf(info[0]).requires_grad()); }
Napi::Value SetRequiresGrad(const Napi::CallbackInfo& info) {
  TensorOf(info[0]).set_requires_grad(info[1].As<Napi::Boolean>());
  return info.Env().Undefined();
}
Napi::Value IsLeaf(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), TensorOf(info[0]).is_leaf()); }
Napi::Value Grad(const Napi::CallbackInfo& info) {
  return Napi::Value(info.Env(), FromIValue(info.Env(), c10::IValue(TensorOf(info[0]).grad())));
}
Napi::Value ClearGrad(const Napi::CallbackInfo& info) {
  TensorOf(info[0]).mutable_grad().reset();
  return info.Env().Undefined();
}

// backward(t, retainGraph): accumulates d t / d leaf into the leaves' gradients; t has one element. Blocks this thread.
Napi::Value Backward(const Napi::CallbackInfo& info) {
  TensorOf(info[0]).backward({}, info[1].As<Napi::Boolean>().Value());
  return info.Env().Undefined();
}

}  // namespace

void InitTensor(Napi::Env env, Napi::Object exports) {
  const auto kH = Want::kHandle;
  Export(env, exports, "dispose", Dispose, {kH});
  Export(env, exports, "disposeAll", DisposeAll, {Want::kArray});
  Export(env, exports, "liveHandles", LiveCount, {});
  Export(env, exports, "isLive", IsLiveHandle, {kH});
  Export(env, exports, "sizes", Sizes, {kH});
  Export(env, exports, "strides", Strides, {kH});
  Export(env, exports, "dtype", Dtype, {kH});
  Export(env, exports, "device", DeviceOf, {kH});
  Export(env, exports, "nbytes", NumBytes, {kH});
  Export(env, exports, "dataPointer", DataPointer, {kH});
  Export(env, exports, "alias", Alias, {kH});
  Export(env, exports, "item", Item, {kH});
  Export(env, exports, "fromBytes", FromBytes, {Want::kBytes, Want::kNumber, Want::kArray});
  Export(env, exports, "toBytes", ToBytes, {kH, Want::kBytes});
  Export(env, exports, "mapFile", MapFile, {Want::kString});
  Export(env, exports, "fromMapping", FromMapping, {kH, Want::kNumber, Want::kNumber, Want::kArray, Want::kArray});
  Export(env, exports, "requiresGrad", RequiresGrad, {kH});
  Export(env, exports, "setRequiresGrad", SetRequiresGrad, {kH, Want::kBoolean});
  Export(env, exports, "isLeaf", IsLeaf, {kH});
  Export(env, exports, "grad", Grad, {kH});
  Export(env, exports, "clearGrad", ClearGrad, {kH});
  Export(env, exports, "backward", Backward, {kH, Want::kBoolean});
}
