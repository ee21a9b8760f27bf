// x·Wᵀ + b with gradients; in float32 on the CPU through oneDNN. There aten::linear uses MKL, which has AVX-512 only on
// Intel's processors: on AMD's it is half as fast.
#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>

#include "convert.h"
#include "handles.h"

namespace {

// oneDNN generates a kernel for each new number of rows: below this many weights that costs more than it saves.
constexpr int64_t kLeastWeights = 1 << 18;

// x (…, in) · w (out, in)ᵀ + bias; w may be a transposed view.
at::Tensor Product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  static const c10::OperatorHandle linear =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "");
  torch::jit::Stack stack{
      x, w, bias.defined() ? c10::IValue(bias) : c10::IValue(), "none", c10::List<std::optional<at::Scalar>>(), ""};
  linear.callBoxed(stack);
  return stack.front().toTensor();
}

class OnednnLinear : public torch::autograd::Function<OnednnLinear> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& w,
                            const at::Tensor& bias) {
    context->save_for_backward({x, w});
    return Product(x, w, bias);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &w = saved[1], &gradient = gradients[0];
    const at::Tensor rows = gradient.reshape({-1, w.size(0)});
    at::Tensor of_x, of_w, of_bias;
    if (context->needs_input_grad(0)) of_x = Product(gradient, w.t(), at::Tensor());
    if (context->needs_input_grad(1)) of_w = Product(rows.t(), x.reshape({-1, w.size(1)}).t(), at::Tensor());
    if (context->needs_input_grad(2)) of_bias = rows.sum(0);
    return {of_x, of_w, of_bias};
  }
};

bool SuitsOnednn(const at::Tensor& x, const at::Tensor& w) {
  static const bool there =
      at::hasMKLDNN() && c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""}).has_value();
  return there && x.is_cpu() && x.scalar_type() == at::kFloat && w.scalar_type() == at::kFloat &&
         w.numel() >= kLeastWeights && x.dim() >= 2 && x.numel() > 0 && x.size(-1) == w.size(1) &&
         at::globalContext().userEnabledMkldnn() && !at::autocast::is_autocast_enabled(at::kCPU);
}

// linear(x (…, in), w (out, in), bias (out)): (…, out)
Napi::Value Linear(const Napi::CallbackInfo& info) {
  const at::Tensor x = TensorOf(info, 0), w = TensorOf(info, 1), bias = TensorOf(info, 2);
  if (w.dim() != 2 || !SuitsOnednn(x, w)) return Napi::Number::New(info.Env(), PutHandle(at::linear(x, w, bias)));
  const bool graph = at::GradMode::is_enabled() && (x.requires_grad() || w.requires_grad() || bias.requires_grad());
  return Napi::Number::New(info.Env(), PutHandle(graph ? OnednnLinear::apply(x, w, bias) : Product(x, w, bias)));
}

}  // namespace

void InitLinear(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "linear", Linear,
         {{"x", ArgKind::kHandle}, {"weight", ArgKind::kHandle}, {"bias", ArgKind::kHandle}});
}
