// CUDA's random generators. The numbers are those of a CPU generator inside; its state is the state.
#include <ATen/CPUGeneratorImpl.h>

#include "strict.h"

namespace strict {
namespace {

struct CudaGenerator final : c10::GeneratorImpl {
  explicit CudaGenerator(c10::DeviceIndex device)
      : GeneratorImpl(c10::Device(c10::kCUDA, device), c10::DispatchKeySet(c10::DispatchKey::CUDA)),
        inner(at::make_generator<at::CPUGeneratorImpl>()) {}
  static c10::DeviceType device_type() { return c10::kCUDA; }
  void set_current_seed(uint64_t seed) override { inner.set_current_seed(seed); }
  uint64_t current_seed() const override { return inner.current_seed(); }
  uint64_t seed() override { return inner.seed(); }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  void set_state(const c10::TensorImpl& state) override {
    const at::Tensor tensor(c10::intrusive_ptr<c10::TensorImpl>::reclaim_copy(const_cast<c10::TensorImpl*>(&state)));
    TORCH_CHECK_TYPE(tensor.device().is_cpu() && tensor.scalar_type() == at::kByte,
                     "RNG state must be a torch.ByteTensor");
    inner.set_state(tensor);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return inner.get_state().getIntrusivePtr(); }
  GeneratorImpl* clone_impl() const override {
    auto* copy = new CudaGenerator(device().index());
    copy->inner.set_state(inner.get_state());
    return copy;
  }
  at::Generator inner;
};

}  // namespace

at::Generator& DefaultGenerator(c10::DeviceIndex device) {
  static auto* all = new std::vector<at::Generator>([] {
    std::vector<at::Generator> made;
    for (c10::DeviceIndex i = 0; i < Devices(); i++) made.push_back(at::make_generator<CudaGenerator>(i));
    return made;
  }());
  return all->at(device < 0 ? CurrentDevice() : device);
}

at::Generator NewGenerator(c10::DeviceIndex device) {
  return at::make_generator<CudaGenerator>(device < 0 ? CurrentDevice() : device);
}

at::Generator HostGenerator(const std::string& method, std::optional<at::Generator> generator,
                            c10::DeviceIndex device) {
  const at::Generator& wanted = generator && generator->defined() ? *generator : DefaultGenerator(device);
  TORCH_CHECK(wanted.device().is_cuda(), "Expected a 'cuda' device type for generator but found 'cpu' (in method ",
              method, ")");
  return static_cast<CudaGenerator*>(wanted.unsafeGetGeneratorImpl())->inner;
}

}  // namespace strict
