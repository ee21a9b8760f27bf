// One memory, two tensors: the device's, which a program holds, and the host's, which the CPU's kernels are given.
#include <ATen/EmptyTensor.h>

#include "strict.h"

namespace strict {
namespace {

at::Tensor Over(c10::Storage storage, c10::DispatchKey key, const at::Tensor& like) {
  at::Tensor made =
      at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(key), like.dtype());
  made.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  return made;
}

}  // namespace

at::Tensor Aliases::Host(const at::Tensor& device) {
  if (!device.defined() || !device.is_cuda()) return device;
  const c10::Storage& storage = device.storage();
  for (const Pair& pair : pairs_)
    if (pair.device.is_alias_of(storage)) return Over(pair.host, c10::DispatchKey::CPU, device);
  c10::Storage host(c10::Storage::use_byte_size_t(), storage.nbytes(),
                    c10::DataPtr(ToHost(storage.data()), c10::Device(c10::kCPU)), c10::GetAllocator(c10::kCPU), true);
  pairs_.push_back({storage, host});
  return Over(std::move(host), c10::DispatchKey::CPU, device);
}

at::Tensor Aliases::Device(const at::Tensor& host, c10::DeviceIndex device) {
  if (!host.defined()) return host;
  for (const Pair& pair : pairs_)
    if (pair.host.unsafeGetStorageImpl() == host.storage().unsafeGetStorageImpl())
      return Over(pair.device, c10::DispatchKey::CUDA, host);
  c10::Storage storage(c10::Storage::use_byte_size_t(), host.storage().nbytes(), Adopt(host.storage(), device),
                       DeviceAllocator(), true);
  return Over(std::move(storage), c10::DispatchKey::CUDA, host);
}

void Aliases::WriteBack(const at::Tensor& device, const at::Tensor& host) {
  if (!device.defined() || !device.is_cuda()) return;
  const c10::Storage& storage = device.storage();
  if (ToDevice(host.storage().data()) != storage.data() || host.storage().nbytes() != storage.nbytes()) {
    storage.set_data_ptr_noswap(Adopt(host.storage(), device.device().index()));
    storage.set_nbytes(host.storage().nbytes());
  }
  if (device.sizes() != host.sizes() || device.strides() != host.strides())
    device.unsafeGetTensorImpl()->set_sizes_and_strides(host.sizes(), host.strides(), host.storage_offset());
}

}  // namespace strict
