// softmax(q·kᵀ/√d)·v without gradients on the CPU: of texts that are packed without padding in one call, and of whole
// batches. LibTorch's own kernel takes sequences of one length, wants a call for each length, and computes its products
// with MKL, which has AVX-512 only on Intel's processors.
#include <ATen/Functions.h>
#include <ATen/Version.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "attention_kernel.h"
#include "convert.h"
#include "handles.h"

namespace {

at::Tensor SideBySide(const at::Tensor& x) { return x.stride(-1) == 1 ? x : x.contiguous(); }

// Where the numbers begin of text or batch `i`.
char* At(const at::Tensor& x, int64_t i) {
  return static_cast<char*>(x.data_ptr()) + i * x.stride(0) * x.element_size();
}

// Whether they are packed (rows, H, d), or `dims` is 4 and they are batches (B, H, rows, d), as the kernel takes them.
bool Suits(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t dims) {
  const auto type = q.scalar_type();
  return q.is_cpu() && k.is_cpu() && v.is_cpu() && (type == at::kFloat || type == at::kBFloat16) &&
         k.scalar_type() == type && v.scalar_type() == type && q.dim() == dims && k.dim() == dims &&
         k.sizes() == v.sizes() && (dims == 3 || q.size(0) == k.size(0)) && q.size(1) == k.size(1) &&
         q.size(-1) == k.size(-1) && q.size(-1) > 0;
}

AttentionTask TaskOf(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& out) {
  const auto strides = [](const at::Tensor& x) {
    return Strides{x.stride(x.dim() == 3 ? 0 : 2) * x.element_size(), x.stride(1) * x.element_size()};
  };
  const bool half = q.scalar_type() == at::kBFloat16;
  return {{}, strides(q), strides(k), strides(v), strides(out), q.size(1), q.size(-1), half};
}

// attendPacked(q (Q, H, d), k and v (T, H, d), ends of the texts' queries and of their tokens, int32 (n + 1) each, from
// 0 on): (Q, H, d). Each query sees the tokens of its own text.
double AttendPacked(Info info) {
  at::Tensor q = TensorOf(info, 0), k = TensorOf(info, 1), v = TensorOf(info, 2);
  const at::Tensor query_ends = TensorOf(info, 3).contiguous(), token_ends = TensorOf(info, 4).contiguous();
  TORCH_CHECK(Suits(q, k, v, 3),
              "attendPacked: expected float32 or bfloat16 q (Q, H, d), k and v (T, H, d) on the CPU but received ",
              q.sizes(), ", ", k.sizes(), " and ", v.sizes());
  TORCH_CHECK(query_ends.scalar_type() == at::kInt && token_ends.scalar_type() == at::kInt && query_ends.is_cpu() &&
                  token_ends.is_cpu() && query_ends.dim() == 1 && query_ends.sizes() == token_ends.sizes(),
              "attendPacked: expected the ends as two int32 tensors of one length on the CPU");
  q = SideBySide(q), k = SideBySide(k), v = SideBySide(v);
  const at::Tensor out = at::empty(q.sizes(), q.options());
  AttentionTask task = TaskOf(q, k, v, out);
  const int32_t *queries = query_ends.data_ptr<int32_t>(), *tokens = token_ends.data_ptr<int32_t>();
  const int64_t texts = query_ends.numel() - 1;
  bool fits =
      texts >= 0 && queries[0] == 0 && tokens[0] == 0 && queries[texts] == q.size(0) && tokens[texts] == k.size(0);
  for (int64_t i = 0; i < texts && fits; i++) {
    const int64_t query = queries[i], token = tokens[i], rows = queries[i + 1] - query, keys = tokens[i + 1] - token;
    fits = rows >= 0 && keys >= 0;
    task.sequences.push_back({At(q, query), At(k, token), At(v, token), At(out, query), rows, keys});
  }
  TORCH_CHECK(fits, "attendPacked: expected ends that rise from 0 to ", q.size(0), " and ", k.size(0));
  Attend(task);
  return PutHandle(out);
}

// Whether LibTorch's kernel multiplies bfloat16 with AMX, which on long sequences is faster than float32 sums here. Its
// own kernels held to less than AVX-512 it fails there: they lack the packing that AMX wants.
bool HasAmx() {
#if defined(__x86_64__)
  const char* limit = std::getenv("ONEDNN_MAX_CPU_ISA");
  unsigned int a, b, c, d;
  return at::get_cpu_capability() == "AVX512" && (limit == nullptr || std::strstr(limit, "AMX") != nullptr) &&
         __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & (1u << 22)) != 0;
#else
  return false;
#endif
}

// Without gradients, by the faster kernel.
at::Tensor AttentionOf(at::Tensor q, at::Tensor k, at::Tensor v) {
  static const bool amx = HasAmx();
  if (!Suits(q, k, v, 4) || k.size(2) == 0 || (amx && q.scalar_type() == at::kBFloat16))
    return at::scaled_dot_product_attention(q, k, v);
  q = SideBySide(q), k = SideBySide(k), v = SideBySide(v);
  const at::Tensor out = at::empty({q.size(0), q.size(2), q.size(1), q.size(3)}, q.options()).transpose(1, 2);
  AttentionTask task = TaskOf(q, k, v, out);
  for (int64_t b = 0; b < q.size(0); b++)
    task.sequences.push_back({At(q, b), At(k, b), At(v, b), At(out, b), q.size(2), k.size(2)});
  Attend(task);
  return out;
}

// With gradients for bfloat16 on the CPU. LibTorch's own backward pass makes thousands of products of 64 rows, each of
// which oneDNN sets up; this one makes five of all heads, from the whole matrices of probabilities.
class HalfAttention : public torch::autograd::Function<HalfAttention> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v) {
    context->save_for_backward({q, k, v});
    return AttentionOf(q, k, v);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const double scale = 1 / std::sqrt(static_cast<double>(saved[0].size(-1)));
    const at::Tensor &k = saved[1], &v = saved[2], &of_out = gradients[0], q = at::mul(saved[0], scale);
    const at::Tensor p = at::_softmax(at::matmul(q, k.mT()), -1, false);
    const at::Tensor of_scores = at::_softmax_backward_data(at::matmul(of_out, v.mT()), p, -1, at::kBFloat16);
    return {at::mul(at::matmul(of_scores, k), scale), at::matmul(of_scores.mT(), q), at::matmul(p.mT(), of_out)};
  }
};

// attend(q (B, H, M, d), k and v (B, H, L, d)): (B, H, M, d), with gradients.
double AttendBatch(Info info) {
  const at::Tensor q = TensorOf(info, 0), k = TensorOf(info, 1), v = TensorOf(info, 2);
  const bool graph = c10::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  if (!graph) return PutHandle(AttentionOf(q, k, v));
  if (Suits(q, k, v, 4) && q.scalar_type() == at::kBFloat16) return PutHandle(HalfAttention::apply(q, k, v));
  return PutHandle(at::scaled_dot_product_attention(q, k, v));
}

}  // namespace

void InitAttention(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "attendPacked", AttendPacked,
         {{"q", kHandle}, {"k", kHandle}, {"v", kHandle}, {"queryEnds", kHandle}, {"tokenEnds", kHandle}});
  Export(env, exports, "attend", AttendBatch, {{"q", kHandle}, {"k", kHandle}, {"v", kHandle}});
}
