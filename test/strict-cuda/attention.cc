// The fused attention kernels: what CUDA's check, and their result in plain arithmetic on the host.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/SDPBackend.h>
#include <ATen/native/transformers/attention.h>
#include <c10/util/env.h>
#include <torch/library.h>

#include <array>
#include <cmath>

#include "strict.h"

namespace strict {
namespace {

using at::Tensor;
using OptTensor = const std::optional<Tensor>&;
using Scale = std::optional<double>;
using Three = std::array<Tensor, 3>;

// ---- arithmetic on the host: q (…, L, d), k and v (…, S, d)

struct Attended {
  Tensor out, lse;
};

double ScaleOf(Scale scale, const Tensor& q) { return scale.value_or(1 / std::sqrt(static_cast<double>(q.size(-1)))); }

Tensor DropoutMask(const Tensor& like, double p, int64_t seed) {
  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed));
  return at::empty_like(like).bernoulli_(1 - p, generator).div_(1 - p);
}

Attended Attend(const Tensor& q, const Tensor& k, const Tensor& v, double p, int64_t seed, Scale scale) {
  const Tensor scores = at::matmul(q.to(at::kFloat), k.to(at::kFloat).transpose(-2, -1)).mul(ScaleOf(scale, q));
  Tensor weights = at::softmax(scores, -1);
  if (p > 0) weights = weights * DropoutMask(weights, p, seed);
  return {at::matmul(weights, v.to(at::kFloat)).to(q.scalar_type()), at::logsumexp(scores, -1)};
}

Three AttendBackward(const Tensor& gradient, const Tensor& q, const Tensor& k, const Tensor& v, double p, int64_t seed,
                     Scale scale) {
  const double s = ScaleOf(scale, q);
  const Tensor qf = q.to(at::kFloat), kf = k.to(at::kFloat), vf = v.to(at::kFloat), gf = gradient.to(at::kFloat);
  const Tensor weights = at::softmax(at::matmul(qf, kf.transpose(-2, -1)).mul(s), -1);
  const Tensor mask = p > 0 ? DropoutMask(weights, p, seed) : at::ones({}, weights.options());
  const Tensor of_weights = at::matmul(gf, vf.transpose(-2, -1)) * mask;
  const Tensor of_scores = weights * (of_weights - (of_weights * weights).sum(-1, true));
  return {at::matmul(of_scores, kf).mul(s).to(q.scalar_type()),
          at::matmul(of_scores.transpose(-2, -1), qf).mul(s).to(k.scalar_type()),
          at::matmul((weights * mask).transpose(-2, -1), gf).to(v.scalar_type())};
}

// Sequences of packed rows: q (T, H, d), k and v (U, H, d), boundaries int32 (n + 1).
Tensor Rows(const Tensor& x, int64_t from, int64_t to) { return x.narrow(0, from, to - from).transpose(0, 1); }

template <class F>
void ForEachSequence(const Tensor& cu_q, const Tensor& cu_k, F f) {
  const Tensor hq = HostAlias(cu_q), hk = HostAlias(cu_k);
  const auto *q = hq.const_data_ptr<int32_t>(), *k = hk.const_data_ptr<int32_t>();
  for (int64_t i = 0; i + 1 < hq.size(0); i++)
    f([&](const Tensor& x) { return Rows(x, q[i], q[i + 1]); },
      [&](const Tensor& x) { return Rows(x, k[i], k[i + 1]); }, i);
}

Tensor Varlen(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q, const Tensor& cu_k, double p,
              int64_t seed, Scale scale) {
  const Tensor out = at::empty(q.sizes(), q.options());
  ForEachSequence(cu_q, cu_k, [&](auto of_q, auto of_k, int64_t i) {
    of_q(out).copy_(Attend(of_q(q), of_k(k), of_k(v), p, seed + i, scale).out);
  });
  return out;
}

Three VarlenBackward(const Tensor& gradient, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q,
                     const Tensor& cu_k, double p, int64_t seed, Scale scale) {
  const Three all{at::zeros(q.sizes(), q.options()), at::zeros(k.sizes(), k.options()),
                  at::zeros(v.sizes(), v.options())};
  ForEachSequence(cu_q, cu_k, [&](auto of_q, auto of_k, int64_t i) {
    const Three part = AttendBackward(of_q(gradient), of_q(q), of_k(k), of_k(v), p, seed + i, scale);
    of_q(all[0]).copy_(part[0]);
    of_k(all[1]).copy_(part[1]);
    of_k(all[2]).copy_(part[2]);
  });
  return all;
}

// ---- between host and device

// Dropout's seed of one call; the backward pass is given it, and so the same mask.
int64_t DrawSeed(const char* method, double p, const Tensor& q) {
  if (p == 0) return 0;
  const at::Generator generator = HostGenerator(method, std::nullopt, q.device().index());
  return at::randint(int64_t{1} << 40, {1}, generator, at::kLong).item<int64_t>();
}
Tensor ToCuda(const Tensor& host, const Tensor& like) {
  return Aliases().Device(host.contiguous(), like.device().index());
}
Tensor Number(int64_t value, const Tensor& like) { return ToCuda(at::full({}, value, at::kLong), like); }
int64_t NumberOf(const Tensor& seed) { return HostAlias(seed).item<int64_t>(); }

// ---- checks

void Begin(const char* method, const NamedTensors& tensors) {
  Count("operators");
  Count(std::string("operator.aten::") + method);
  const Tensor& first = tensors.front().second;
  for (const auto& [argument, t] : tensors) {
    TORCH_CHECK(t.is_cuda() && t.device() == first.device(), method, ": ", argument, " is on ", t.device(),
                ", other tensors on ", first.device());
    TORCH_CHECK(t.scalar_type() == first.scalar_type(), method, ": ", argument, " has dtype ", t.scalar_type(), ", ",
                tensors.front().first, " has ", first.scalar_type());
    TORCH_CHECK(t.stride(-1) == 1, method, ": ", argument, " must have contiguous last dimension");
  }
}

void CheckFlash(const char* method, const Tensor& q) {
  TORCH_CHECK(q.scalar_type() == at::kHalf || q.scalar_type() == at::kBFloat16, method,
              ": FlashAttention only support fp16 and bf16 data type");
  TORCH_CHECK(q.size(-1) % 8 == 0 && q.size(-1) <= 256, method, ": head size ", q.size(-1));
}

// The kernels would read and write out of bounds, or leave rows uncomputed, where this throws.
void CheckBoundaries(const char* method, const char* which, const Tensor& q, OptTensor given, int64_t tokens,
                     const std::optional<c10::SymInt>& longest) {
  TORCH_CHECK(given && longest, "strict: ", method, " is here in its variable-length form only");
  const Tensor& cu = *given;
  TORCH_CHECK(cu.is_cuda() && cu.device() == q.device(), method, ": cu_seqlens_", which, " is on ", cu.device(),
              ", query on ", q.device());
  TORCH_CHECK(cu.scalar_type() == at::kInt, method, ": cu_seqlens_", which, " must have dtype int32");
  TORCH_CHECK(cu.dim() == 1 && cu.is_contiguous(), method, ": cu_seqlens_", which, " must be contiguous");
  const Tensor host = HostAlias(cu);
  const auto* at = host.const_data_ptr<int32_t>();
  const int64_t last = cu.size(0) - 1;
  int64_t most = 0;
  bool ascends = at[0] == 0 && at[last] == tokens;
  for (int64_t i = 1; i <= last; i++) {
    ascends = ascends && at[i] >= at[i - 1];
    most = std::max<int64_t>(most, at[i] - at[i - 1]);
  }
  TORCH_CHECK(ascends, method, ": cu_seqlens_", which, " run from ", at[0], " to ", at[last], ", tokens are ", tokens);
  TORCH_CHECK(longest->expect_int() >= most, method, ": max_seqlen_", which, " ", longest->expect_int(),
              " is less than the longest sequence, ", most, ": its end would not be computed");
}

// ---- the variable-length kernels

using Efficient = std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt>;
Efficient EfficientForward(const Tensor& q, const Tensor& k, const Tensor& v, OptTensor bias, OptTensor cu_q,
                           OptTensor cu_k, std::optional<c10::SymInt> max_q, std::optional<c10::SymInt> max_k, double p,
                           int64_t, bool keep_lse, Scale scale, OptTensor, std::optional<int64_t>) {
  constexpr const char* method = "_efficient_attention_forward";
  const at::AutoDispatchBelowADInplaceOrView below;
  Begin(method, {{"query", q}, {"key", k}, {"value", v}});
  TORCH_CHECK(q.dim() == 4 && k.dim() == 4 && v.dim() == 4 && q.size(0) == 1 && k.size(0) == 1 && !bias,
              "strict: ", method, " is here in its variable-length form only");
  TORCH_CHECK(k.size(1) == v.size(1) && q.size(2) == k.size(2) && q.size(3) == k.size(3), method, ": shapes ",
              q.sizes(), k.sizes(), v.sizes());
  CheckBoundaries(method, "q", q, cu_q, q.size(1), max_q);
  CheckBoundaries(method, "k", q, cu_k, k.size(1), max_k);
  TORCH_CHECK(cu_q->size(0) == cu_k->size(0), method, ": cu_seqlens_q and cu_seqlens_k differ in length");
  const int64_t seed = DrawSeed(method, p, q);
  Aliases a;
  const Tensor out = Varlen(a.Host(q)[0], a.Host(k)[0], a.Host(v)[0], *cu_q, *cu_k, p, seed, scale);
  const int64_t kept = keep_lse ? (max_q->expect_int() + 31) / 32 * 32 : 0;
  const Tensor lse = at::zeros({cu_q->size(0) - 1, q.size(2), kept}, at::kFloat);
  return {ToCuda(out.unsqueeze(0), q), ToCuda(lse, q), Number(seed, q), Number(0, q), *max_q, *max_k};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> EfficientBackward(
    const Tensor& g, const Tensor& q, const Tensor& k, const Tensor& v, OptTensor, const Tensor& out, OptTensor cu_q,
    OptTensor cu_k, c10::SymInt max_q, c10::SymInt max_k, const Tensor& lse, double p, const Tensor& seed,
    const Tensor&, int64_t, bool, Scale scale, std::optional<int64_t>, std::optional<int64_t>, bool) {
  constexpr const char* method = "_efficient_attention_backward";
  const at::AutoDispatchBelowADInplaceOrView below;
  Begin(method, {{"grad_out", g}, {"query", q}, {"key", k}, {"value", v}, {"out", out}});
  TORCH_CHECK(lse.size(2) > 0, method, ": the forward kept no logsumexp (compute_log_sumexp)");
  CheckBoundaries(method, "q", q, cu_q, q.size(1), max_q);
  CheckBoundaries(method, "k", q, cu_k, k.size(1), max_k);
  Aliases a;
  const Three all =
      VarlenBackward(a.Host(g)[0], a.Host(q)[0], a.Host(k)[0], a.Host(v)[0], *cu_q, *cu_k, p, NumberOf(seed), scale);
  return {ToCuda(all[0].unsqueeze(0), q), ToCuda(all[1].unsqueeze(0), q), ToCuda(all[2].unsqueeze(0), q), Tensor()};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> FlashForward(const Tensor& q, const Tensor& k, const Tensor& v,
                                                                OptTensor cu_q, OptTensor cu_k, c10::SymInt max_q,
                                                                c10::SymInt max_k, double p, bool, bool, Scale scale,
                                                                std::optional<c10::SymInt>, std::optional<c10::SymInt>,
                                                                OptTensor, OptTensor) {
  constexpr const char* method = "_flash_attention_forward";
  const at::AutoDispatchBelowADInplaceOrView below;
  Begin(method, {{"query", q}, {"key", k}, {"value", v}});
  CheckFlash(method, q);
  TORCH_CHECK(q.dim() == 3 && k.dim() == 3 && v.dim() == 3, "strict: ", method,
              " is here in its variable-length form only");
  CheckBoundaries(method, "q", q, cu_q, q.size(0), max_q);
  CheckBoundaries(method, "k", q, cu_k, k.size(0), max_k);
  const int64_t seed = DrawSeed(method, p, q);
  Aliases a;
  const Tensor out = Varlen(a.Host(q), a.Host(k), a.Host(v), *cu_q, *cu_k, p, seed, scale);
  return {ToCuda(out, q), ToCuda(at::zeros({q.size(1), q.size(0)}, at::kFloat), q), Number(seed, q), Number(0, q),
          ToCuda(at::empty({0}, at::kFloat), q)};
}

std::tuple<Tensor, Tensor, Tensor> FlashBackward(const Tensor& g, const Tensor& q, const Tensor& k, const Tensor& v,
                                                 const Tensor& out, const Tensor&, const Tensor& cu_q,
                                                 const Tensor& cu_k, c10::SymInt max_q, c10::SymInt max_k, double p,
                                                 bool, const Tensor& seed, const Tensor&, Scale scale,
                                                 std::optional<c10::SymInt>, std::optional<c10::SymInt>) {
  constexpr const char* method = "_flash_attention_backward";
  const at::AutoDispatchBelowADInplaceOrView below;
  Begin(method, {{"grad_out", g}, {"query", q}, {"key", k}, {"value", v}, {"out", out}});
  CheckBoundaries(method, "q", q, cu_q, q.size(0), max_q);
  CheckBoundaries(method, "k", q, cu_k, k.size(0), max_k);
  Aliases a;
  const Three all = VarlenBackward(a.Host(g), a.Host(q), a.Host(k), a.Host(v), cu_q, cu_k, p, NumberOf(seed), scale);
  return {ToCuda(all[0], q), ToCuda(all[1], q), ToCuda(all[2], q)};
}

// ---- scaled_dot_product_attention

// LibTorch 2.11's choice on an H100: for 16 bits cuDNN, FlashAttention, memory-efficient, for float32 the last. cuDNN's
// kernel is not here: its shapes are counted, since it builds a plan for each, and FlashAttention's stands in.
int64_t ChooseSdp(const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& mask, double, bool,
                  Scale, bool) {
  static const bool cudnn_is_last = c10::utils::check_env("TORCH_CUDNN_SDPA_DEPRIORITIZED") == true;
  const at::Context& context = at::globalContext();
  const auto number = [](at::SDPBackend backend) { return static_cast<int64_t>(backend); };
  if (mask || q.dim() != 4 || q.scalar_type() != k.scalar_type() || k.scalar_type() != v.scalar_type())
    return number(at::SDPBackend::math);
  const bool half = q.scalar_type() == at::kHalf || q.scalar_type() == at::kBFloat16;
  const bool cudnn = half && context.userEnabledCuDNNSDP();
  if (cudnn && !(cudnn_is_last && context.userEnabledFlashSDP())) {
    const bool backward = at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
    CountAttentionShape(c10::str(q.sizes(), q.strides(), k.sizes(), k.strides(), v.strides(), backward));
    return number(at::SDPBackend::flash_attention);
  }
  if (half && context.userEnabledFlashSDP()) return number(at::SDPBackend::flash_attention);
  if (context.userEnabledMemEfficientSDP()) return number(at::SDPBackend::efficient_attention);
  return number(at::SDPBackend::math);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> SdpaForward(const char* method, const Tensor& q, const Tensor& k,
                                                       const Tensor& v, double p, Scale scale) {
  const at::AutoDispatchBelowADInplaceOrView below;
  Begin(method, {{"query", q}, {"key", k}, {"value", v}});
  const int64_t seed = DrawSeed(method, p, q);
  Aliases a;
  const Attended r = Attend(a.Host(q), a.Host(k), a.Host(v), p, seed, scale);
  // The kernels' results lie as (B, L, H, d).
  return {ToCuda(r.out.transpose(1, 2), q).transpose(1, 2), ToCuda(r.lse, q), Number(seed, q), Number(0, q)};
}
Three SdpaBackward(const char* method, const Tensor& g, const Tensor& q, const Tensor& k, const Tensor& v,
                   const Tensor& out, const Tensor& seed, double p, Scale scale) {
  if (!g.defined()) return {};
  const at::AutoDispatchBelowADInplaceOrView below;
  Begin(method, {{"query", q}, {"key", k}, {"value", v}, {"out", out}});
  Aliases a;
  const Three r = AttendBackward(a.Host(g), a.Host(q), a.Host(k), a.Host(v), p, NumberOf(seed), scale);
  return {ToCuda(r[0], q), ToCuda(r[1], q), ToCuda(r[2], q)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> SdpaEfficient(const Tensor& q, const Tensor& k, const Tensor& v,
                                                         OptTensor bias, bool, double p, bool, Scale scale) {
  TORCH_CHECK(!bias, "strict: attention with a bias is not here");
  return SdpaForward("_scaled_dot_product_efficient_attention", q, k, v, p, scale);
}
std::tuple<Tensor, Tensor, Tensor, Tensor> SdpaEfficientBackward(const Tensor& g, const Tensor& q, const Tensor& k,
                                                                 const Tensor& v, const Tensor&, const Tensor& out,
                                                                 const Tensor&, const Tensor& seed, const Tensor&,
                                                                 double p, std::array<bool, 4>, bool, Scale scale) {
  const auto [dq, dk, dv] =
      SdpaBackward("_scaled_dot_product_efficient_attention_backward", g, q, k, v, out, seed, p, scale);
  return {dq, dk, dv, Tensor()};
}
std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt, Tensor, Tensor, Tensor> SdpaFlash(
    const Tensor& q, const Tensor& k, const Tensor& v, double p, bool, bool, Scale scale) {
  constexpr const char* method = "_scaled_dot_product_flash_attention";
  CheckFlash(method, q);
  const auto [out, lse, seed, offset] = SdpaForward(method, q, k, v, p, scale);
  return {out, lse, Tensor(), Tensor(), q.size(2), k.size(2), seed, offset, ToCuda(at::empty({0}, at::kFloat), q)};
}
std::tuple<Tensor, Tensor, Tensor> SdpaFlashBackward(const Tensor& g, const Tensor& q, const Tensor& k, const Tensor& v,
                                                     const Tensor& out, const Tensor&, const Tensor&, const Tensor&,
                                                     c10::SymInt, c10::SymInt, double p, bool, const Tensor& seed,
                                                     const Tensor&, Scale scale) {
  const auto [dq, dk, dv] =
      SdpaBackward("_scaled_dot_product_flash_attention_backward", g, q, k, v, out, seed, p, scale);
  return {dq, dk, dv};
}

const bool registered = [] {
  at::native::_fused_sdp_choice_stub.set_cuda_dispatch_ptr(&ChooseSdp);
  return true;
}();

}  // namespace

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("_efficient_attention_forward", EfficientForward);
  m.impl("_efficient_attention_backward", EfficientBackward);
  m.impl("_flash_attention_forward", FlashForward);
  m.impl("_flash_attention_backward", FlashBackward);
  m.impl("_scaled_dot_product_efficient_attention", SdpaEfficient);
  m.impl("_scaled_dot_product_efficient_attention_backward", SdpaEfficientBackward);
  m.impl("_scaled_dot_product_flash_attention", SdpaFlash);
  m.impl("_scaled_dot_product_flash_attention_backward", SdpaFlashBackward);
}

}  // namespace strict
