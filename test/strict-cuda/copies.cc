// Making tensors of the device, views of them, copies to and from the host, and dropout.
#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include "strict.h"

namespace strict {
namespace {

at::Tensor Empty(at::IntArrayRef sizes, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device> device, std::optional<bool> pin, std::optional<at::MemoryFormat> format) {
  TORCH_CHECK(!pin.value_or(false), "Only dense CPU tensors can be pinned");
  const c10::DeviceGuard guard(Placed(device));
  return at::detail::empty_generic(sizes, DeviceAllocator(), c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                   dtype.value_or(at::kFloat), format);
}

at::Tensor EmptyStrided(at::IntArrayRef sizes, at::IntArrayRef strides, std::optional<at::ScalarType> dtype,
                        std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool> pin) {
  TORCH_CHECK(!pin.value_or(false), "Only dense CPU tensors can be pinned");
  const c10::DeviceGuard guard(Placed(device));
  return at::detail::empty_strided_generic(sizes, strides, DeviceAllocator(),
                                           c10::DispatchKeySet(c10::DispatchKey::CUDA), dtype.value_or(at::kFloat));
}

// CUDA copies bytes as they lie. Where types or strides differ it makes a plain copy on one side first: of an upload,
// on the host, in memory that is not pinned; of a download, on the device.
bool IsPlain(const at::Tensor& to, const at::Tensor& from) {
  return to.scalar_type() == from.scalar_type() && to.sizes() == from.sizes() &&
         ((to.is_contiguous() && from.is_contiguous()) ||
          (to.strides() == from.strides() && to.is_non_overlapping_and_dense()));
}

void Upload(const at::Tensor& to, const at::Tensor& from, bool non_blocking) {
  const c10::DeviceIndex device = to.device().index();
  const at::Tensor host = HostAlias(to);
  host.copy_(from);
  if (!non_blocking) return Wait("upload.blocking", device);
  if (!IsPlain(to, from) || !IsPinned(from.const_data_ptr())) return Count("upload.pageable");
  Count("upload.pinned");
  MustStay(from.const_data_ptr(), from.nbytes(), device);
}

void Download(const at::Tensor& to, const at::Tensor& from, bool non_blocking) {
  const c10::DeviceIndex device = from.device().index();
  const at::Tensor host = HostAlias(from);
  if (!non_blocking || !IsPinned(to.const_data_ptr())) {  // to pageable memory CUDA waits in any case
    Wait("download.blocking", device);
    to.copy_(host);
    return;
  }
  Count("download.pinned");
  TORCH_CHECK(to.is_non_overlapping_and_dense(), "strict: a late copy into a tensor with gaps");
  WriteLater(to.data_ptr(), at::empty_like(to, to.options().pinned_memory(false)).copy_(host), device);
}

at::Tensor& Copy(at::Tensor& self, const at::Tensor& from, bool non_blocking) {
  const at::AutoDispatchBelowADInplaceOrView below;
  if (self.numel() == 0) return self;
  if (self.is_cuda() && from.is_cuda()) {
    Count("operators");
    Aliases aliases;
    at::Tensor to = aliases.Host(self);
    to.copy_(aliases.Host(from));
  } else {
    // As CUDA does, the shape of the source is spread over the destination's first.
    const at::Tensor spread = from.sizes() == self.sizes() ? from : from.expand(self.sizes());
    if (self.is_cuda()) Upload(self, spread, non_blocking);
    else Download(self, spread, non_blocking);
  }
  return self;
}

const at::Tensor& Resize(const at::Tensor& self, at::IntArrayRef sizes, std::optional<at::MemoryFormat> format) {
  Aliases aliases;
  const at::Tensor host = aliases.Host(self);
  host.resize_(sizes, format);
  aliases.WriteBack(self, host);
  return self;
}

std::tuple<at::Tensor, at::Tensor> NativeDropout(const at::Tensor& input, double p, std::optional<bool> train) {
  Count("operators");
  Count("operator.aten::native_dropout");
  if (train && !*train) return {input.clone(), at::ones_like(input, input.options().dtype(at::kBool))};
  const at::Tensor mask = at::empty_like(input, input.options().dtype(at::kBool)).bernoulli_(1 - p);
  return {input.mul(mask).mul_(p == 1 ? 0 : 1 / (1 - p)), mask};
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", Empty);
  m.impl("empty_strided", EmptyStrided);
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("view", at::native::view);
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("copy_", Copy);
  m.impl("resize_", Resize);
  m.impl("native_dropout", NativeDropout);
}

}  // namespace strict
