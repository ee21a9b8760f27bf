// The attention kernel: AVX-512, AVX2 or whatever the compiler makes of vectors of four numbers. Knows no tensors.
#include "attention_kernel.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#pragma GCC diagnostic ignored "-Wpsabi"  // vectors are passed between functions that are inlined

#define INLINE [[gnu::always_inline]] inline

namespace {

// Queries of one sequence and head that are computed in a row; for others the keys are laid out again.
constexpr int64_t kChunk = 192;

template <int W>
struct Vector {
  typedef float Floats __attribute__((vector_size(W * 4)));
  typedef int32_t Integers __attribute__((vector_size(W * 4)));
  typedef float Unaligned __attribute__((vector_size(W * 4), aligned(4), may_alias));
  typedef uint16_t Halves __attribute__((vector_size(W * 2), aligned(2), may_alias));
};

template <int W, int S, bool High>
constexpr int LaneOf(int l) {
  return (l & S) ? W + (High ? l : l - S) : (High ? l + S : l);
}

#if defined(__clang__)
template <int W, int S, bool High, int... L>
INLINE typename Vector<W>::Floats ExchangeLanes(typename Vector<W>::Floats a, typename Vector<W>::Floats b,
                                                std::integer_sequence<int, L...>) {
  return __builtin_shufflevector(a, b, LaneOf<W, S, High>(L)...);
}
#endif

template <int W>
INLINE typename Vector<W>::Floats Load(const float* from) {
  return *reinterpret_cast<const typename Vector<W>::Unaligned*>(from);
}

template <int W>
INLINE void Store(float* to, typename Vector<W>::Floats x) {
  *reinterpret_cast<typename Vector<W>::Unaligned*>(to) = x;
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

INLINE float FromHalf(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float x;
  std::memcpy(&x, &wide, 4);
  return x;
}

INLINE uint16_t ToHalf(float x) {  // to the nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

INLINE float At(const char* row, int64_t i, bool half) {
  return half ? FromHalf(reinterpret_cast<const uint16_t*>(row)[i]) : reinterpret_cast<const float*>(row)[i];
}

// W numbers of a row from the i-th on.
template <int W>
INLINE typename Vector<W>::Floats LoadFrom(const char* row, int64_t i, bool half) {
  if (!half) return Load<W>(reinterpret_cast<const float*>(row) + i);
  const auto bits = *reinterpret_cast<const typename Vector<W>::Halves*>(row + 2 * i);
  const auto wide = __builtin_convertvector(bits, typename Vector<W>::Integers) << 16;
  return reinterpret_cast<const typename Vector<W>::Floats&>(wide);
}

// Lane l of the result: where l has bit S, b's lane l (with `high`) or l - S, else a's lane l + S or l.
template <int W, int S, bool High>
INLINE typename Vector<W>::Floats Exchange(typename Vector<W>::Floats a, typename Vector<W>::Floats b) {
#if defined(__clang__)
  return ExchangeLanes<W, S, High>(a, b, std::make_integer_sequence<int, W>{});
#else
  typename Vector<W>::Integers lanes;
#pragma GCC unroll 16
  for (int l = 0; l < W; l++) lanes[l] = LaneOf<W, S, High>(l);
  return __builtin_shuffle(a, b, lanes);
#endif
}

// One step of the transposition of W × W numbers in registers: the blocks of S × S off the diagonal change places.
template <int W, int S>
INLINE void TransposeStep(typename Vector<W>::Floats* rows) {
#pragma GCC unroll 16
  for (int i = 0; i < W; i++)
    if ((i & S) == 0) {
      const auto a = rows[i], b = rows[i + S];
      rows[i] = Exchange<W, S, false>(a, b);
      rows[i + S] = Exchange<W, S, true>(a, b);
    }
  if constexpr (2 * S < W) TransposeStep<W, 2 * S>(rows);
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
    TransposeStep<W, 1>(rows);
#pragma GCC unroll 16
    for (int j = 0; j < W; j++) Store<W>(to + (i + j) * stride, rows[j]);
  }
}

// Memory of one thread, for the longest sequence: keys in panels (2W keys, transposed), values, and a block of rows.
struct Scratch {
  struct Free {
    void operator()(float* p) const { ::operator delete[](p, std::align_val_t(64)); }
  };
  std::unique_ptr<float[], Free> all;
  float *keys, *values, *q, *scores, *out;

  Scratch(int64_t padded_keys, int64_t width, int64_t padded_width, int64_t rows) {
    const int64_t sizes[] = {padded_keys * width, padded_keys * padded_width, rows * width, rows * padded_keys,
                             rows * padded_width};
    int64_t total = 0;
    for (const int64_t size : sizes) total += (size + 15) / 16 * 16;
    all.reset(static_cast<float*>(::operator new[](total * sizeof(float), std::align_val_t(64))));
    float* next = all.get();
    float** parts[] = {&keys, &values, &q, &scores, &out};
    for (int i = 0; i < 5; i++) {
      *parts[i] = next;
      next += (sizes[i] + 15) / 16 * 16;
    }
  }
};

// R rows of queries from row `first` of a sequence and head whose keys and values are laid out in `scratch`.
template <int W, int R>
INLINE void Rows(const AttentionTask& task, const Sequence& s, int64_t head, int64_t first, const float* values,
                 int64_t value_stride, const Scratch& scratch) {
  const int64_t d = task.width, columns = 2 * W;
  const int64_t padded = (s.keys + columns - 1) / columns * columns,
                padded_width = (d + columns - 1) / columns * columns;
  const float scale = 1.f / std::sqrt(static_cast<float>(d));
  for (int r = 0; r < R; r++) {
    const char* row = s.q + (first + r) * task.q.row + head * task.q.head;
    for (int64_t i = 0; i < d; i++) scratch.q[r * d + i] = At(row, i, task.half) * scale;
  }
  for (int64_t panel = 0; panel < padded; panel += columns)
    Product<W, R>(scratch.q, d, scratch.keys + panel * d, columns, d, scratch.scores + panel, padded);
  float shares[R];
  for (int r = 0; r < R; r++) shares[r] = Softmax<W>(scratch.scores + r * padded, s.keys, padded);
  for (int64_t column = 0; column < padded_width; column += columns)
    Product<W, R>(scratch.scores, padded, values + column, value_stride, s.keys, scratch.out + column, padded_width);
  for (int r = 0; r < R; r++) {
    char* row = s.out + (first + r) * task.out.row + head * task.out.head;
    const float* from = scratch.out + r * padded_width;
    if (task.half)
      for (int64_t i = 0; i < d; i++) reinterpret_cast<uint16_t*>(row)[i] = ToHalf(from[i] * shares[r]);
    else
      for (int64_t i = 0; i < d; i++) reinterpret_cast<float*>(row)[i] = from[i] * shares[r];
  }
}

// The keys and values of a sequence and head as the products read them.
template <int W>
INLINE const float* LayOut(const AttentionTask& task, const Sequence& s, int64_t head, const Scratch& scratch,
                           int64_t* value_stride) {
  const int64_t d = task.width, columns = 2 * W, padded_width = (d + columns - 1) / columns * columns;
  const char* keys = s.k + head * task.k.head;
  for (int64_t key = 0; key < s.keys; key += columns) {
    float* panel = scratch.keys + key * d;
    if (d % W == 0) {
      for (int half = 0; half < 2; half++)
        LayOutKeys<W>(keys + (key + half * W) * task.k.row, task.k.row, s.keys - key - half * W, d, task.half,
                      panel + half * W, columns);
    } else {
      for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < columns; j++)
          panel[i * columns + j] = key + j < s.keys ? At(keys + (key + j) * task.k.row, i, task.half) : 0.f;
    }
  }
  const char* from = s.v + head * task.v.head;
  if (!task.half && d == padded_width) {
    *value_stride = task.v.row / static_cast<int64_t>(sizeof(float));
    return reinterpret_cast<const float*>(from);
  }
  *value_stride = padded_width;
  for (int64_t key = 0; key < s.keys; key++) {
    float* to = scratch.values + key * padded_width;
    for (int64_t i = 0; i < d; i++) to[i] = At(from + key * task.v.row, i, task.half);
    for (int64_t i = d; i < padded_width; i++) to[i] = 0;
  }
  return scratch.values;
}

// One piece of work: rows `first` to `last` of a sequence and head.
template <int W, int R>
INLINE void Piece(const AttentionTask& task, const Sequence& s, int64_t head, int64_t first, int64_t last,
                  const float* values, int64_t value_stride, const Scratch& scratch) {
  const int64_t rows = last - first;
  for (int64_t row = first; row < last;) {
    // Some rows twice rather than one by one: the results are the same.
    const int64_t left = last - row;
    if (left >= R || (left > R / 2 && rows >= R)) {
      row = std::min(row, last - R);
      Rows<W, R>(task, s, head, row, values, value_stride, scratch);
      row += R;
    } else if (rows >= R / 2) {
      row = std::min(row, last - R / 2);
      Rows<W, R / 2>(task, s, head, row, values, value_stride, scratch);
      row += R / 2;
    } else {
      Rows<W, 1>(task, s, head, row, values, value_stride, scratch);
      row += 1;
    }
  }
}

using Chunks = std::vector<std::pair<int32_t, int64_t>>;  // a sequence and the first of its rows

// The pieces of work `begin` to `end`: head by head, in each the chunks of all sequences. W numbers a vector, or half
// as many for the shortest sequences, which would not fill them.
template <int W, int R>
INLINE void Run(const AttentionTask& task, const Chunks& chunks, int64_t begin, int64_t end) {
  const int64_t columns = 2 * W;
  int64_t longest = 0;
  for (const Sequence& s : task.sequences) longest = std::max(longest, s.keys);
  const auto padded = [&](int64_t n) { return (n + columns - 1) / columns * columns; };
  const Scratch scratch(padded(longest), task.width, padded(task.width), R);
  const int64_t count = static_cast<int64_t>(chunks.size());
  int64_t laid_out = -1;  // the sequence and head whose keys and values are
  const float* values = nullptr;
  int64_t value_stride = 0;
  for (int64_t piece = begin; piece < end; piece++) {
    const int64_t head = piece / count;
    const auto [sequence, first] = chunks[piece % count];
    const Sequence& s = task.sequences[sequence];
    const bool narrow = s.keys <= W;
    if (laid_out != head * count + sequence) {
      laid_out = head * count + sequence;
      values = narrow ? LayOut<W / 2>(task, s, head, scratch, &value_stride)
                      : LayOut<W>(task, s, head, scratch, &value_stride);
    }
    const int64_t last = std::min(s.queries, first + kChunk);
    if (narrow) Piece<W / 2, R>(task, s, head, first, last, values, value_stride, scratch);
    else Piece<W, R>(task, s, head, first, last, values, value_stride, scratch);
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
  // The same variable that limits LibTorch's own kernels.
  const char* limit = std::getenv("ATEN_CPU_CAPABILITY");
  const auto allowed = [&](const char* least) { return limit == nullptr || std::strcmp(limit, least) == 0; };
  if (allowed("avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return RunAvx512;
  if ((allowed("avx2") || allowed("avx512")) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return RunAvx2;
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
