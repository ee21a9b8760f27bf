// The transposed copy of a float32 matrix, in less than half of the time that ATen's copy_ takes for it.
#pragma once
#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "vectors.h"

// (rows, columns) → (columns, rows). Eight rows at a time, since reading more of them would evict each other from the
// first cache where a row's length is a multiple of a page.
inline at::Tensor TransposedCopy(const at::Tensor& matrix) {
  if (!matrix.is_cpu() || matrix.scalar_type() != at::kFloat || !matrix.is_contiguous()) return matrix.t().contiguous();
  constexpr int64_t kRows = 8;
  const int64_t rows = matrix.size(0), columns = matrix.size(1);
  const at::Tensor result = at::empty({columns, rows}, matrix.options());
  const float* const from = matrix.const_data_ptr<float>();
  float* const to = result.mutable_data_ptr<float>();
  at::parallel_for(0, (rows + kRows - 1) / kRows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin * kRows; first < std::min(rows, end * kRows); first += kRows) {
      const int64_t last = std::min(rows, first + kRows);
      const int64_t whole = last - first == kRows ? columns / 4 * 4 : 0;  // columns that come in blocks
      for (int64_t column = 0; column < whole; column += 4)
        for (int64_t row = first; row < last; row += 4) {
          Vector<4>::Floats block[4];
          for (int i = 0; i < 4; i++) block[i] = Load<4>(from + (row + i) * columns + column);
          Transpose<4>(block);
          for (int i = 0; i < 4; i++) Store<4>(to + (column + i) * rows + row, block[i]);
        }
      for (int64_t row = first; row < last; row++)
        for (int64_t column = whole; column < columns; column++) to[column * rows + row] = from[row * columns + column];
    }
  });
  return result;
}
