// The kernel of every operator that has none of its own here: CUDA's checks, then the CPU's kernel on aliases.
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include "operators.inc"
#include "strict.h"

namespace strict {
namespace {

template <class F>
void ForEachTensor(const c10::IValue& value, F f) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) f(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor& t : value.toTensorVector()) f(t);
  } else if (value.isOptionalTensorList()) {
    for (const std::optional<at::Tensor>& t : value.toOptionalTensorVector())
      if (t && t->defined()) f(*t);
  }
}

// The value with every tensor in it replaced by f of it.
template <class F>
c10::IValue MapTensors(const c10::IValue& value, F f) {
  if (value.isTensor()) return f(value.toTensor());
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& t : value.toTensorVector()) list.push_back(f(t));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const std::optional<at::Tensor>& t : value.toOptionalTensorVector())
      list.push_back(t && t->defined() ? std::optional<at::Tensor>(f(*t)) : t);
    return list;
  }
  return value;
}

bool IsWritten(const c10::Argument& argument) { return argument.alias_info() && argument.alias_info()->isWrite(); }

}  // namespace

void Fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const c10::FunctionSchema& schema = op.schema();
  const std::string method = c10::toString(op.operator_name());
  const size_t count = schema.arguments().size();
  const auto arguments = torch::jit::last(*stack, count);
  NamedTensors tensors;
  for (size_t i = 0; i < count; i++)
    ForEachTensor(arguments[i], [&](const at::Tensor& t) { tensors.emplace_back(schema.arguments()[i].name(), t); });

  std::optional<c10::Device> common = CheckDevices(method, tensors);
  for (const c10::IValue& value : arguments)
    if (!common && value.isDevice() && value.toDevice().is_cuda()) common = Placed(value.toDevice());
  TORCH_CHECK(common, "strict: ", method, " came to CUDA without a tensor or device of it");
  const c10::DeviceIndex device = common->index();
  CheckTypes(method, tensors);
  Count("operators");
  Count("operator." + method.substr(0, method.find('.')));
  if (device != CurrentDevice()) Count("elsewhere");
  CountReads(method, tensors, device);

  Aliases aliases;
  torch::jit::Stack host;
  std::vector<std::pair<at::Tensor, at::Tensor>> written;
  for (size_t i = 0; i < count; i++) {
    const c10::Argument& argument = schema.arguments()[i];
    const c10::IValue& value = arguments[i];
    if (value.isDevice()) {
      host.emplace_back(c10::Device(c10::kCPU));
    } else if (value.isGenerator() || argument.type()->str() == "Generator?") {
      const auto given = value.isGenerator() ? std::optional<at::Generator>(value.toGenerator()) : std::nullopt;
      host.emplace_back(HostGenerator(method, given, device));
    } else {
      host.push_back(MapTensors(value, [&](const at::Tensor& t) {
        at::Tensor alias = aliases.Host(t);
        if (IsWritten(argument)) written.emplace_back(t, alias);
        return alias;
      }));
    }
  }
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), &host);
  }
  for (const auto& [on_device, alias] : written) aliases.WriteBack(on_device, alias);

  torch::jit::Stack results;
  for (size_t i = 0; i < schema.returns().size(); i++) {
    const c10::Argument& result = schema.returns()[i];
    if (!IsWritten(result)) {
      results.push_back(MapTensors(host[i], [&](const at::Tensor& t) { return aliases.Device(t, device); }));
      continue;
    }
    for (size_t a = 0; a < count; a++)  // the very argument that was written
      if (schema.arguments()[a].alias_info() && *schema.arguments()[a].alias_info() == *result.alias_info())
        results.push_back(arguments[a]);
  }
  torch::jit::drop(*stack, count);
  for (c10::IValue& result : results) stack->push_back(std::move(result));
}

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&Fallback>()); }

// A fallback is not asked for an operator that has a composite kernel; where CUDA has its own, it must be named.
TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  for (const char* name : kOverComposite) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&Fallback>());
  for (const char* name : {"convolution", "convolution_backward"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&Fallback>());
}

}  // namespace strict
