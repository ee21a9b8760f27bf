// Vectors of W float32 numbers that GCC and Clang know on every processor, and the transposition of W of them.
#pragma once
#include <cstdint>
#include <utility>

#pragma GCC diagnostic ignored "-Wpsabi"  // vectors are passed between functions that are inlined

#define INLINE [[gnu::always_inline]] inline

template <int W>
struct Vector {
  typedef float Floats __attribute__((vector_size(W * 4)));
  typedef int32_t Integers __attribute__((vector_size(W * 4)));
  typedef float Unaligned __attribute__((vector_size(W * 4), aligned(4), may_alias));
  typedef uint16_t Halves __attribute__((vector_size(W * 2), aligned(2), may_alias));
};

template <int W>
INLINE typename Vector<W>::Floats Load(const float* from) {
  return *reinterpret_cast<const typename Vector<W>::Unaligned*>(from);
}

template <int W>
INLINE void Store(float* to, typename Vector<W>::Floats x) {
  *reinterpret_cast<typename Vector<W>::Unaligned*>(to) = x;
}

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, decltype(a < b){__VA_ARGS__})
#endif

// The lanes with bit S of a, and those without it of b, change places. (Lanes W and up of a shuffle are b's.)
template <int S, class Floats, int... L>
INLINE void Exchange(Floats& a, Floats& b, std::integer_sequence<int, L...>) {
  constexpr int W = sizeof...(L);
  const Floats x = a, y = b;
  a = SHUFFLE(x, y, (L & S ? W + L - S : L)...);
  b = SHUFFLE(x, y, (L & S ? W + L : L + S)...);
}

// Transposes W × W numbers in registers: in each step the blocks of S × S off the diagonal change places.
template <int W, int S = 1>
INLINE void Transpose(typename Vector<W>::Floats* rows) {
#pragma GCC unroll 16
  for (int i = 0; i < W; i++)
    if ((i & S) == 0) Exchange<S>(rows[i], rows[i + S], std::make_integer_sequence<int, W>{});
  if constexpr (2 * S < W) Transpose<W, 2 * S>(rows);
}
