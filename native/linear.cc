// x·Wᵀ + b with gradients; on the CPU through oneDNN. There aten::linear uses MKL in float32, which has AVX-512 only on
// Intel's processors: on AMD's it is half as fast. Weights that no gradient reaches can be packed: laid out once as the
// kernels read them, where a plain weight is laid out anew in every call. That is worth half in bfloat16 and with few
// rows.
#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>

#include "convert.h"
#include "handles.h"
#include "transpose.h"

namespace {

// oneDNN generates a kernel for each new number of rows: below this many weights that costs more than it saves.
constexpr int64_t kLeastWeights = 1 << 18;

const c10::OperatorHandle* Find(const char* name, const char* overload = "") {
  const auto found = c10::Dispatcher::singleton().findSchema({name, overload});
  return found ? new c10::OperatorHandle(*found) : nullptr;  // once a process
}

at::Tensor Call(const c10::OperatorHandle& op, torch::jit::Stack stack) {
  op.callBoxed(stack);
  return stack.front().toTensor();
}

const c10::OperatorHandle* Pointwise() {
  static const c10::OperatorHandle* op = at::hasMKLDNN() ? Find("mkldnn::_linear_pointwise") : nullptr;
  return op;
}

c10::IValue Optional(const at::Tensor& tensor) { return tensor.defined() ? c10::IValue(tensor) : c10::IValue(); }

// x (…, in) · w (out, in)ᵀ + bias, then gelu if wanted; w may be packed or a transposed view.
at::Tensor Product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias, bool gelu = false) {
  return Call(*Pointwise(), {x, w, Optional(bias), gelu ? "gelu" : "none", c10::List<std::optional<at::Scalar>>(),
                             gelu ? "none" : ""});
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
    if (context->needs_input_grad(1))
      of_w = Product(TransposedCopy(rows), x.reshape({-1, w.size(1)}).t(), at::Tensor());
    if (context->needs_input_grad(2)) of_bias = rows.sum(0);
    return {of_x, of_w, of_bias};
  }
};

bool SuitsOnednn(const at::Tensor& x, const at::Tensor& w) {
  return Pointwise() != nullptr && x.is_cpu() && x.scalar_type() == at::kFloat && w.scalar_type() == at::kFloat &&
         w.numel() >= kLeastWeights && x.dim() >= 2 && x.numel() > 0 && x.size(-1) == w.size(1) &&
         at::globalContext().userEnabledMkldnn() && !at::autocast::is_autocast_enabled(at::kCPU);
}

bool IsPacked(const at::Tensor& w) { return w.layout() == at::kMkldnn; }

// The same with a packed weight, whose type x takes on, as under autocast.
at::Tensor PackedProduct(const at::Tensor& given, const at::Tensor& w, const at::Tensor& bias, bool gelu,
                         const at::Tensor& residual) {
  TORCH_CHECK(given.is_cpu() && given.dim() >= 2 && given.size(-1) == w.size(1),
              "linear: x and weight shapes cannot be multiplied (", given.sizes(), " and ", w.sizes(), " transposed)");
  const at::Tensor x = given.to(w.scalar_type());
  if (x.numel() == 0) {
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = w.size(0);
    return at::empty(shape, x.options());
  }
  if (!residual.defined()) return Product(x, w, bias, gelu);
  static const c10::OperatorHandle* with_residual = Find("mkldnn::_linear_pointwise", "binary");
  if (with_residual != nullptr && !gelu && residual.scalar_type() == w.scalar_type() && residual.is_contiguous() &&
      residual.dim() == x.dim() && residual.sizes().slice(0, x.dim() - 1) == x.sizes().slice(0, x.dim() - 1))
    return Call(*with_residual, {x, residual, w, Optional(bias), "add"});
  return at::add(residual, Product(x, w, bias, gelu));
}

// linear(x (…, in), w (out, in), bias (out), gelu, residual (…, out)?): residual + gelu(x·wᵀ + bias), (…, out)
Napi::Value Linear(const Napi::CallbackInfo& info) {
  const at::Tensor x = TensorOf(info, 0), w = TensorOf(info, 1), bias = TensorOf(info, 2);
  const bool gelu = BooleanOf(info, 3);
  const at::Tensor residual = IsGiven(info, 4) ? TensorOf(info, 4) : at::Tensor();
  if (IsPacked(w)) return Napi::Number::New(info.Env(), PutHandle(PackedProduct(x, w, bias, gelu, residual)));
  const bool graph = at::GradMode::is_enabled() && (x.requires_grad() || w.requires_grad() || bias.requires_grad());
  at::Tensor out;
  if (w.dim() != 2 || !SuitsOnednn(x, w)) out = at::linear(x, w, bias);
  else if (graph) out = OnednnLinear::apply(x, w, bias);
  else out = Product(x, w, bias);
  if (gelu) out = at::gelu(out);
  if (residual.defined()) out = at::add(residual, out);
  return Napi::Number::New(info.Env(), PutHandle(out));
}

// packLinear(w (out, in)): the weight as oneDNN's kernels read it, a copy for `linear` alone; or w itself where there
// is no such form: on a GPU, for small weights, and where oneDNN has no kernels for its type.
Napi::Value PackLinear(const Napi::CallbackInfo& info) {
  static const c10::OperatorHandle* pack = Find("mkldnn::_reorder_linear_weight");
  static const c10::OperatorHandle* bf16 = Find("mkldnn::_is_mkldnn_bf16_supported");
  const at::Tensor w = TensorOf(info, 0);
  const auto suits = [&] {
    if (pack == nullptr || Pointwise() == nullptr || !at::globalContext().userEnabledMkldnn()) return false;
    if (!w.is_cpu() || w.layout() != at::kStrided || w.dim() != 2 || w.requires_grad() || w.numel() < kLeastWeights)
      return false;
    if (w.scalar_type() == at::kFloat) return true;
    if (w.scalar_type() != at::kBFloat16 || bf16 == nullptr) return false;
    torch::jit::Stack stack;
    bf16->callBoxed(stack);
    return stack.front().toBool();
  };
  return Napi::Number::New(info.Env(), PutHandle(suits() ? Call(*pack, {w, c10::IValue()}) : w));
}

}  // namespace

void InitLinear(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "linear", Linear,
         {{"x", kHandle}, {"weight", kHandle}, {"bias", kHandle}, {"gelu", kBoolean}, {"residual", kHandle, true}});
  Export(env, exports, "packLinear", PackLinear, {{"weight", kHandle}});
}
