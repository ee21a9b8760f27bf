// The attention kernel: AVX-512, AVX2 or whatever the compiler makes of vectors of four numbers. Knows no tensors.
#include "attention_kernel.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/BFloat16.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "vectors.h"

namespace {

// Queries of one sequence and head that are computed in a row; for others the keys are laid out again.
constexpr int64_t kChunk = 192;

// Keys and the width of a head come in panels of 2W.
template <int W>
INLINE int64_t Padded(int64_t n) {
  return (n + 2 * W - 1) / (2 * W) * (2 * W);
}

// c (R, 2W) = a (R, n) · b (n, 2W)
template <int W, int R>
INLINE void Product(const float* a, int64_t lda, const float* b, int64_t ldb, int64_t n, float* c, int64_t ldc) {
  typename Vector<W>::Floats sums[R][2] = {};
  for (int64_t i = 0; i < n; i++, b += ldb) {
    const auto left = Load<W>(b), right = Load<W>(b + W);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      sums[r][0] += left * a[r * lda + i];
      sums[r][1] += right * a[r * lda + i];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    Store<W>(c + r * ldc, sums[r][0]);
    Store<W>(c + r * ldc + W, sums[r][1]);
  }
}

// exp(x) for x ≤ 0, within 2 units in the last place (Cephes' polynomial); not a number stays so.
template <int W>
INLINE typename Vector<W>::Floats Exp(typename Vector<W>::Floats x) {
  using Floats = typename Vector<W>::Floats;
  using Integers = typename Vector<W>::Integers;
  const Floats least = Floats{} - 87.33654f;
  x = least > x ? least : x;
  const Floats n = (x * 1.44269504f + 12582912.f) - 12582912.f;  // rounded to the nearest integer
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.f;
  const Integers exponent = (__builtin_convertvector(n, Integers) + 127) << 23;
  return y * reinterpret_cast<const Floats&>(exponent);
}

// exp(x - max) in place over `padded` numbers, of which those after `n` are of no account; returns 1 / their sum.
template <int W>
INLINE float Softmax(float* x, int64_t n, int64_t padded) {
  using Floats = typename Vector<W>::Floats;
  for (int64_t i = n; i < padded; i++) x[i] = -std::numeric_limits<float>::infinity();
  Floats most = Load<W>(x);
  for (int64_t i = W; i < padded; i += W) {
    const Floats next = Load<W>(x + i);
    most = next > most ? next : most;
  }
  float max = most[0];
  for (int i = 1; i < W; i++) max = most[i] > max ? most[i] : max;
  Floats sums{};
  for (int64_t i = 0; i < padded; i += W) {
    const Floats e = Exp<W>(Load<W>(x + i) - max);
    Store<W>(x + i, e);
    sums += e;
  }
  float sum = 0;
  for (int i = 0; i < W; i++) sum += sums[i];
  return 1.f / sum;
}

INLINE float At(const char* row, int64_t i, bool half) {
  return half ? float{reinterpret_cast<const c10::BFloat16*>(row)[i]} : reinterpret_cast<const float*>(row)[i];
}

// W numbers of a row from the i-th on.
template <int W>
INLINE typename Vector<W>::Floats LoadFrom(const char* row, int64_t i, bool half) {
  if (!half) return Load<W>(reinterpret_cast<const float*>(row) + i);
  const auto bits = *reinterpret_cast<const typename Vector<W>::Halves*>(row + 2 * i);
  const auto wide = __builtin_convertvector(bits, typename Vector<W>::Integers) << 16;
  return reinterpret_cast<const typename Vector<W>::Floats&>(wide);
}

// W keys from row `key` on (fewer at the end: zeros then) as columns: to[i * stride + j] = number i of key j.
template <int W>
INLINE void LayOutKeys(const char* keys, int64_t row_stride, int64_t count, int64_t d, bool half, float* to,
                       int64_t stride) {
  typename Vector<W>::Floats rows[W];
  for (int64_t i = 0; i < d; i += W) {
#pragma GCC unroll 16
    for (int j = 0; j < W; j++)
      rows[j] = j < count ? LoadFrom<W>(keys + j * row_stride, i, half) : typename Vector<W>::Floats{};
    Transpose<W>(rows);
#pragma GCC unroll 16
    for (int j = 0; j < W; j++) Store<W>(to + (i + j) * stride, rows[j]);
  }
}

// What one thread computes, in memory for the longest sequence.
struct Work {
  const AttentionTask& task;
  const Sequence* s = nullptr;  // whose keys and values in `head` are laid out
  int64_t head = -1;
  float *keys, *copied, *q, *scores, *out;  // keys in panels (2W of them, transposed), values, and a block of rows
  const float* values = nullptr;            // copied ones, or those of the sequence where they can be read as they are
  int64_t value_stride = 0;
};

// R rows of queries from row `first` on.
template <int W, int R>
INLINE void Rows(const Work& work, int64_t first) {
  const AttentionTask& task = work.task;
  const Sequence& s = *work.s;
  const int64_t d = task.width, padded = Padded<W>(s.keys), padded_width = Padded<W>(d);
  const float scale = 1.f / std::sqrt(static_cast<float>(d));
  for (int r = 0; r < R; r++) {
    const char* row = s.q + (first + r) * task.q.row + work.head * task.q.head;
    for (int64_t i = 0; i < d; i++) work.q[r * d + i] = At(row, i, task.half) * scale;
  }
  for (int64_t panel = 0; panel < padded; panel += 2 * W)
    Product<W, R>(work.q, d, work.keys + panel * d, 2 * W, d, work.scores + panel, padded);
  float shares[R];
  for (int r = 0; r < R; r++) shares[r] = Softmax<W>(work.scores + r * padded, s.keys, padded);
  for (int64_t column = 0; column < padded_width; column += 2 * W)
    Product<W, R>(work.scores, padded, work.values + column, work.value_stride, s.keys, work.out + column,
                  padded_width);
  for (int r = 0; r < R; r++) {
    char* row = s.out + (first + r) * task.out.row + work.head * task.out.head;
    const float* from = work.out + r * padded_width;
    if (task.half)
      for (int64_t i = 0; i < d; i++) reinterpret_cast<c10::BFloat16*>(row)[i] = from[i] * shares[r];
    else
      for (int64_t i = 0; i < d; i++) reinterpret_cast<float*>(row)[i] = from[i] * shares[r];
  }
}

// The keys and values of a sequence and head as the products read them.
template <int W>
INLINE void LayOut(Work& work) {
  const AttentionTask& task = work.task;
  const Sequence& s = *work.s;
  const int64_t d = task.width, padded_width = Padded<W>(d);
  const char* keys = s.k + work.head * task.k.head;
  for (int64_t key = 0; key < Padded<W>(s.keys); key += W) {
    float* to = work.keys + key / (2 * W) * (2 * W) * d + key % (2 * W);
    if (d % W == 0) LayOutKeys<W>(keys + key * task.k.row, task.k.row, s.keys - key, d, task.half, to, 2 * W);
    else
      for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < W; j++)
          to[i * 2 * W + j] = key + j < s.keys ? At(keys + (key + j) * task.k.row, i, task.half) : 0.f;
  }
  const char* from = s.v + work.head * task.v.head;
  const bool as_is = !task.half && d == padded_width;
  work.values = as_is ? reinterpret_cast<const float*>(from) : work.copied;
  work.value_stride = as_is ? task.v.row / static_cast<int64_t>(sizeof(float)) : padded_width;
  for (int64_t key = 0; key < s.keys && !as_is; key++) {
    float* to = work.copied + key * padded_width;
    for (int64_t i = 0; i < d; i++) to[i] = At(from + key * task.v.row, i, task.half);
    for (int64_t i = d; i < padded_width; i++) to[i] = 0;
  }
}

// Rows `first` to `last`. (GCC keeps the sums of Product in registers with `row` set to where the rows begin, and
// spills half of them where that is only an argument.)
template <int W, int R>
INLINE void Piece(const Work& work, int64_t first, int64_t last) {
  const int64_t rows = last - first;
  for (int64_t row = first; row < last;) {
    // Some rows twice rather than one by one: the results are the same.
    const int64_t left = last - row;
    if (left >= R || (left > R / 2 && rows >= R)) {
      row = std::min(row, last - R);
      Rows<W, R>(work, row);
      row += R;
    } else if (rows >= R / 2) {
      row = std::min(row, last - R / 2);
      Rows<W, R / 2>(work, row);
      row += R / 2;
    } else {
      Rows<W, 1>(work, row);
      row += 1;
    }
  }
}

using Chunks = std::vector<std::pair<int32_t, int64_t>>;  // a sequence and the first of its rows

// The pieces of work `begin` to `end`: head by head, in each the chunks of all sequences. W numbers a vector, or half
// as many for the shortest sequences, which would not fill them.
template <int W, int R>
INLINE void Run(const AttentionTask& task, const Chunks& chunks, int64_t begin, int64_t end) {
  int64_t longest = 0;
  for (const Sequence& s : task.sequences) longest = std::max(longest, s.keys);
  const int64_t keys = Padded<W>(longest), width = Padded<W>(task.width);
  const at::DataPtr memory = c10::GetCPUAllocator()->allocate((2 * keys * width + R * (2 * width + keys)) * 4);
  Work work{task};
  work.keys = static_cast<float*>(memory.get());
  work.copied = work.keys + keys * width;
  work.q = work.copied + keys * width;
  work.scores = work.q + R * width;
  work.out = work.scores + R * keys;
  const auto count = static_cast<int64_t>(chunks.size());
  for (int64_t piece = begin; piece < end; piece++) {
    const int64_t head = piece / count;
    const auto [sequence, first] = chunks[piece % count];
    const Sequence& s = task.sequences[sequence];
    const bool narrow = s.keys <= W, known = work.s == &s && work.head == head;
    work.s = &s;
    work.head = head;
    const int64_t last = std::min(s.queries, first + kChunk);
    if (!known && narrow) LayOut<W / 2>(work);
    else if (!known) LayOut<W>(work);
    if (narrow) Piece<W / 2, R>(work, first, last);
    else Piece<W, R>(work, first, last);
  }
}

#if defined(__x86_64__)
[[gnu::target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]] void RunAvx512(const AttentionTask& task,
                                                                              const Chunks& chunks, int64_t begin,
                                                                              int64_t end) {
  Run<16, 12>(task, chunks, begin, end);
}
[[gnu::target("avx2,fma")]] void RunAvx2(const AttentionTask& task, const Chunks& chunks, int64_t begin, int64_t end) {
  Run<8, 6>(task, chunks, begin, end);
}
#endif
void RunPlain(const AttentionTask& task, const Chunks& chunks, int64_t begin, int64_t end) {
  Run<4, 4>(task, chunks, begin, end);
}

auto ChooseRun() {
#if defined(__x86_64__)
  const std::string capability = at::get_cpu_capability();  // as LibTorch's own kernels choose
  if (capability == "AVX512") return RunAvx512;
  if (capability == "AVX2") return RunAvx2;
#endif
  return RunPlain;
}

}  // namespace

void Attend(const AttentionTask& task) {
  static const auto run = ChooseRun();
  Chunks chunks;
  for (size_t i = 0; i < task.sequences.size(); i++)
    if (task.sequences[i].keys > 0)
      for (int64_t row = 0; row < task.sequences[i].queries; row += kChunk)
        chunks.emplace_back(static_cast<int32_t>(i), row);
  at::parallel_for(0, static_cast<int64_t>(chunks.size()) * task.heads, 1,
                   [&](int64_t begin, int64_t end) { run(task, chunks, begin, end); });
}
