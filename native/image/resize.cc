// Bicubic resizing of 8-bit RGB images with exactly Pillow's arithmetic: 22-bit fixed-point weights, rows before
// columns, rounded and clipped after each pass.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "../vectors.h"
#include "pixels.h"

namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;  // 8 bits of pixel and 2 of headroom leave 22 for the weight in an int32
constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);
constexpr int kMaxSide = 1 << 20;

using Int4 = Vector<4>::Integers;

// Output sample i is the sum over t in [0, count[i]) of input sample first[i] + t times values[i * taps + t].
struct Weights {
  int taps = 0;
  int longest = 0;  // the largest count
  std::vector<int> first;
  std::vector<int> count;
  std::vector<int32_t> values;
};

// Keys' cubic with a = -0.5.
double Bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// When shrinking, the kernel is stretched by the ratio, so that every input sample counts (antialiasing).
Weights MakeWeights(int in_size, int out_size) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double stretch = std::max(scale, 1.0);
  const double support = 2.0 * stretch;
  Weights w;
  w.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
  w.first.resize(out_size);
  w.count.resize(out_size);
  w.values.assign(static_cast<size_t>(out_size) * w.taps, 0);
  std::vector<double> kernel(w.taps);
  for (int i = 0; i < out_size; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int count = std::min(static_cast<int>(center + support + 0.5), in_size) - first;
    double sum = 0.0;
    for (int t = 0; t < count; ++t) sum += kernel[t] = Bicubic((t + first - center + 0.5) * (1.0 / stretch));
    for (int t = 0; t < count; ++t) {
      const double value = (sum != 0.0 ? kernel[t] / sum : kernel[t]) * (1 << kPrecisionBits);
      w.values[static_cast<size_t>(i) * w.taps + t] = static_cast<int32_t>(value + (value < 0 ? -0.5 : 0.5));
    }
    w.first[i] = first;
    w.count[i] = count;
    w.longest = std::max(w.longest, count);
  }
  return w;
}

INLINE void Widen(const uint8_t* __restrict__ src, size_t count, int32_t* __restrict__ wide) {
  for (size_t i = 0; i < count; ++i) wide[i] = src[i];
}

// The sums start at one half, so all that remains of Pillow's rounding is the shift and the clip.
INLINE void Store(const int32_t* __restrict__ sums, size_t count, uint8_t* __restrict__ dst) {
  for (size_t i = 0; i < count; ++i) dst[i] = static_cast<uint8_t>(std::clamp(sums[i] >> kPrecisionBits, 0, 255));
}

// Resamples `Rows` rows of src to out_width pixels. `wide` holds the rows as int32 and `sums` the results, with strides
// wide_stride and sums_stride: a pixel's three values are computed as a vector of four whose last lane belongs to the
// next pixel, so both have spare lanes. All pixels use w.longest taps, missing ones with weight 0: a loop of varying
// length would cost more in mispredicted branches.
template <int Rows>
INLINE void ResampleRows(const uint8_t* src, size_t stride, size_t in_count, const Weights& w, int out_width,
                         uint8_t* dst, int32_t* wide, size_t wide_stride, int32_t* sums, size_t sums_stride) {
  const size_t out_count = static_cast<size_t>(out_width) * kChannels;
  for (int r = 0; r < Rows; ++r) Widen(src + r * stride, in_count, wide + r * wide_stride);
  const int32_t* weights = w.values.data();
  for (int x = 0; x < out_width; ++x, weights += w.taps) {
    const int32_t* from = wide + static_cast<size_t>(w.first[x]) * kChannels;
    Int4 sum[Rows];
    for (int r = 0; r < Rows; ++r) sum[r] = Int4{kHalf, kHalf, kHalf, kHalf};
    for (int t = 0; t < w.longest; ++t, from += kChannels) {
      for (int r = 0; r < Rows; ++r) {
        Int4 pixel;
        std::memcpy(&pixel, from + r * wide_stride, sizeof pixel);
        sum[r] += pixel * weights[t];
      }
    }
    for (int r = 0; r < Rows; ++r) {
      std::memcpy(sums + r * sums_stride + static_cast<size_t>(x) * kChannels, &sum[r], sizeof sum[r]);
    }
  }
  for (int r = 0; r < Rows; ++r) Store(sums + r * sums_stride, out_count, dst + r * out_count);
}

constexpr int kRows = 4;

INLINE void AddRows(const uint8_t* a, const uint8_t* b, const uint8_t* c, const uint8_t* d, int32_t ka, int32_t kb,
                    int32_t kc, int32_t kd, size_t count, int32_t* __restrict__ sums) {
  for (size_t i = 0; i < count; ++i) sums[i] += a[i] * ka + b[i] * kb + c[i] * kc + d[i] * kd;
}

// One build must run on any x86-64 and still use AVX2 if the processor has it, so `work` is compiled for both.
#if defined(__x86_64__)
template <class Work>
__attribute__((target("avx2"))) void WithAvx2(const Work& work) {
  work();
}
#endif
template <class Work>
void Run(const Work& work) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return WithAvx2(work);
#endif
  work();
}

// width x rows pixels to out_width x rows.
void Horizontal(const uint8_t* src, size_t stride, int width, int rows, int out_width, uint8_t* dst) {
  const Weights w = MakeWeights(width, out_width);
  const size_t in_count = static_cast<size_t>(width) * kChannels,
               out_count = static_cast<size_t>(out_width) * kChannels;
  const size_t wide_stride = in_count + static_cast<size_t>(w.longest) * kChannels + 1, sums_stride = out_count + 1;
  std::vector<int32_t> wide(wide_stride * kRows);
  std::vector<int32_t> sums(sums_stride * kRows);
  Run([=, &w, wide = wide.data(), sums = sums.data()]() __attribute__((always_inline)) {
    int y = 0;
    for (; y + kRows <= rows; y += kRows)
      ResampleRows<kRows>(src + y * stride, stride, in_count, w, out_width, dst + y * out_count, wide, wide_stride,
                          sums, sums_stride);
    for (; y < rows; ++y)
      ResampleRows<1>(src + y * stride, stride, in_count, w, out_width, dst + y * out_count, wide, wide_stride, sums,
                      sums_stride);
  });
}

// width x height pixels to width x out_height. Four taps at a time keep the sums in registers longer; missing taps have
// weight 0 and repeat an existing row.
void Vertical(const uint8_t* src, size_t stride, int width, int height, int out_height, uint8_t* dst) {
  const Weights w = MakeWeights(height, out_height);
  const size_t row_bytes = static_cast<size_t>(width) * kChannels;
  std::vector<int32_t> all_sums(row_bytes);
  Run([=, &w, sums = all_sums.data()]() __attribute__((always_inline)) {
    for (int y = 0; y < out_height; ++y) {
      const int32_t* weights = w.values.data() + static_cast<size_t>(y) * w.taps;
      std::fill_n(sums, row_bytes, kHalf);
      for (int t = 0; t < w.count[y]; t += 4) {
        const uint8_t* row[4];
        int32_t k[4];
        for (int j = 0; j < 4; ++j) {
          const int tap = std::min(t + j, w.count[y] - 1);
          row[j] = src + (w.first[y] + tap) * stride;
          k[j] = t + j < w.count[y] ? weights[tap] : 0;
        }
        AddRows(row[0], row[1], row[2], row[3], k[0], k[1], k[2], k[3], row_bytes, sums);
      }
      Store(sums, row_bytes, dst + y * row_bytes);
    }
  });
}

// src: first pixel of the region, whose rows are `stride` bytes apart. A pass that would not change the size is
// skipped, as in Pillow. Since each pass rounds, their order shows in the last bit. Up to Pillow 12 rows always come
// first; from 13 on, and here, columns come first if the height shrinks by more than twice as much as the width.
void Resize(const uint8_t* src, size_t stride, int width, int height, int out_width, int out_height, uint8_t* dst) {
  const size_t out_stride = static_cast<size_t>(out_width) * kChannels;
  if (width == out_width && height == out_height) {
    for (int y = 0; y < height; ++y) std::memcpy(dst + y * out_stride, src + y * stride, out_stride);
  } else if (height == out_height) {
    Horizontal(src, stride, width, height, out_width, dst);
  } else if (width == out_width) {
    Vertical(src, stride, width, height, out_height, dst);
  } else {
    const bool columns_first = height > out_height && height - out_height > 2 * (width - out_width);
    const int between_width = columns_first ? width : out_width, between_height = columns_first ? out_height : height;
    const size_t between_stride = static_cast<size_t>(between_width) * kChannels;
    const std::unique_ptr<uint8_t[]> between(new uint8_t[between_stride * between_height]);
    Resize(src, stride, width, height, between_width, between_height, between.get());
    Resize(between.get(), between_stride, between_width, between_height, out_width, out_height, dst);
  }
}

// Pixels of `box`, or of all of the image: [left, top, width, height].
struct Box {
  int left, top, width, height;
};

Box BoxOf(Info info, size_t index, int width, int height) {
  if (!IsGiven(info, index)) return {0, 0, width, height};
  const std::vector<int64_t> box = IntegersOf(info, index);
  if (box.size() != 4)
    RejectArgument(info, index, "[left, top, width, height]", std::to_string(box.size()) + " numbers");
  const auto side = [&](int64_t i, int least, int64_t most) {
    if (box[i] < least || box[i] > most)
      RejectArgument(info, index, "an integer from " + std::to_string(least) + " to " + std::to_string(most), i);
    return static_cast<int>(box[i]);
  };
  const int left = side(0, 0, width - 1), top = side(1, 0, height - 1);
  return {left, top, side(2, 1, width - left), side(3, 1, height - top)};
}

// resizeBicubic(source, width, height, outWidth, outHeight, destination, box?): crops to the box first
void ResizeBicubic(Info info) {
  const auto side = [&](size_t index) { return static_cast<int>(IntegerOf(info, index, 1, kMaxSide)); };
  const int width = side(1), height = side(2), out_width = side(3), out_height = side(4);
  const Box box = BoxOf(info, 6, width, height);
  // After the box: reading it can run JavaScript, which could detach the buffers.
  const Image src = ImageOf(info, 0, width, height);
  const Image dst = ImageOf(info, 5, out_width, out_height);
  try {
    Resize(src.pixel(box.left, box.top), src.stride(), box.width, box.height, out_width, out_height, dst.data);
  } catch (const std::bad_alloc&) {
    throw std::runtime_error("there is no memory for the " + std::to_string(out_width) + "x" +
                             std::to_string(box.height) + " image between the two passes");
  }
}

}  // namespace

void InitResize(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "resizeBicubic", ResizeBicubic,
         {{"source", kBytes},
          {"width", kInteger},
          {"height", kInteger},
          {"outWidth", kInteger},
          {"outHeight", kInteger},
          {"destination", kBytes},
          {"box", kArray, /*optional=*/true}});
}
