// What CUDA's operators refuse where the CPU's kernels would go on, and where they wait for the device.
#include <map>
#include <set>
#include <unordered_set>

#include "operators.inc"
#include "strict.h"

namespace strict {
namespace {

bool IsLenient(const std::string& method) {
  static const std::unordered_set<std::string> names(std::begin(kNoCheck), std::end(kNoCheck));
  return names.count(method) > 0;
}

// The operator without its overload: one with a structured kernel comes here in its form with an `out`.
std::string BaseOf(const std::string& method) { return method.substr(0, method.find('.')); }

// Indices may lie on the CPU: CUDA's indexing uploads them. _foreach_copy_ is a copy for each pair.
bool MayBeOnCpu(const std::string& method, const std::string& argument) {
  static const std::set<std::pair<std::string, std::string>> all{{"aten::index", "indices"},
                                                                 {"aten::index_put_", "indices"},
                                                                 {"aten::_index_put_impl_", "indices"},
                                                                 {"aten::_foreach_copy_", "src"}};
  return all.count({BaseOf(method), argument}) > 0;
}

}  // namespace

std::optional<c10::Device> CheckDevices(const std::string& method, const NamedTensors& tensors) {
  std::optional<c10::Device> common;
  const auto refuse = [&](const std::string& argument, const at::Tensor& t) {
    TORCH_CHECK(false, "Expected all tensors to be on the same device, but got ", argument, " is on ", t.device(),
                ", different from other tensors on ", *common, " (when checking argument in method ", method, ")");
  };
  for (const auto& [argument, t] : tensors) {
    if (!t.is_cuda()) continue;
    if (!common) common = t.device();
    if (*common != t.device()) refuse(argument, t);
  }
  if (!common) return common;
  for (const auto& [argument, t] : tensors) {
    if (t.is_cuda()) continue;
    if (t.is_cpu() && MayBeOnCpu(method, argument)) {
      Wait("upload.blocking", common->index());
      continue;
    }
    if (!t.is_cpu() || t.dim() > 0 || !IsLenient(method)) refuse(argument, t);
    if (!t.unsafeGetTensorImpl()->is_wrapped_number()) Count("scalar." + method);
  }
  return common;
}

// Kernels of CUDA that take one floating type for these arguments, where the CPU's take mixtures.
void CheckTypes(const std::string& method, const NamedTensors& tensors) {
  static const std::map<std::string, std::set<std::string>> rules{
      {"aten::native_layer_norm", {"input", "weight", "bias"}},
      {"aten::native_layer_norm_backward", {"grad_out", "input", "weight"}},
      {"aten::addmm", {"self", "mat1", "mat2"}},
      {"aten::index_copy", {"self", "source"}},
      {"aten::convolution", {"input", "weight", "bias"}},
      {"aten::convolution_overrideable", {"input", "weight", "bias"}}};
  const auto rule = rules.find(BaseOf(method));
  if (rule == rules.end()) return;
  std::optional<at::ScalarType> type;
  for (const auto& [argument, t] : tensors) {
    if (rule->second.count(argument) == 0) continue;
    if (!type) type = t.scalar_type();
    TORCH_CHECK(*type == t.scalar_type(), method, ": expected scalar type ", *type, " but found ", t.scalar_type(),
                " for ", argument);
  }
}

void CountReads(const std::string& method, const NamedTensors& tensors, c10::DeviceIndex device) {
  static const std::set<std::string> reads{"aten::_local_scalar_dense",
                                           "aten::nonzero",
                                           "aten::masked_select",
                                           "aten::equal",
                                           "aten::_unique2",
                                           "aten::unique_dim",
                                           "aten::unique_consecutive",
                                           "aten::repeat_interleave",
                                           "aten::bincount"};
  const std::string base = BaseOf(method);
  if (reads.count(base) > 0) Wait("read." + base, device);
  // Two checks of the weights: that they are finite and not negative, and that no row is all zeros.
  if (base == "aten::multinomial")
    for (int check = 0; check < 2; check++) Wait("read." + base, device);
  // Indexing by a mask counts what is true in it first.
  if (base == "aten::index" || base == "aten::index_put_" || base == "aten::_index_put_impl_")
    for (const auto& [argument, t] : tensors)
      if (argument == "indices" && (t.scalar_type() == at::kBool || t.scalar_type() == at::kByte))
        Wait("read." + base, device);
}

}  // namespace strict
