// Bicubic resizing of 8-bit RGB images with exactly the arithmetic of Pillow: 22-bit fixed-point weights, rows before
// columns, rounded and clipped after each pass. Knows no tensor and keeps no state, so any thread may call it.
#include "exports.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

namespace {

constexpr int kChannels = 3;
constexpr int kPrecisionBits = 32 - 8 - 2;  // 8 bits of pixel and 2 of headroom leave 22 for the weight in an int32
constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);
constexpr int kMaxSide = 1 << 20;

// Four and eight lanes of int32, and the bytes they are made from: GCC's and Clang's portable vectors.
typedef int32_t Int4 __attribute__((vector_size(16)));
typedef int32_t Int8 __attribute__((vector_size(32)));
typedef uint8_t Byte4 __attribute__((vector_size(4)));
typedef uint8_t Byte8 __attribute__((vector_size(8)));

#define BLIP_INLINE inline __attribute__((always_inline))

// The input samples that one output sample is made of: `weights[i * taps + t]` for t in [0, count[i]), from first[i] on.
struct Weights {
  int taps = 0;
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
  }
  return w;
}

BLIP_INLINE uint8_t Clip(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

// `Rows` rows at once, all columns. A pixel is read as four bytes: the last belongs to what follows and lands in a lane
// that is thrown away, but it must exist, so the last row of an image goes through ResampleLastRow.
template <int Rows>
BLIP_INLINE void ResampleRows(const uint8_t* src, size_t src_stride, const Weights& w, int out_width, uint8_t* dst,
                             size_t dst_stride) {
  for (int x = 0; x < out_width; ++x) {
    const int32_t* weights = &w.values[static_cast<size_t>(x) * w.taps];
    const uint8_t* from = src + static_cast<size_t>(w.first[x]) * kChannels;
    Int4 sum[Rows];
    for (int r = 0; r < Rows; ++r) sum[r] = Int4{kHalf, kHalf, kHalf, kHalf};
    for (int t = 0; t < w.count[x]; ++t) {
      const int32_t k = weights[t];
      const Int4 weight = {k, k, k, k};
      for (int r = 0; r < Rows; ++r) {
        Byte4 pixel;
        std::memcpy(&pixel, from + r * src_stride + t * kChannels, sizeof pixel);
        sum[r] += __builtin_convertvector(pixel, Int4) * weight;
      }
    }
    for (int r = 0; r < Rows; ++r)
      for (int c = 0; c < kChannels; ++c) dst[r * dst_stride + x * kChannels + c] = Clip(sum[r][c]);
  }
}

void ResampleLastRow(const uint8_t* src, const Weights& w, int out_width, uint8_t* dst) {
  for (int x = 0; x < out_width; ++x) {
    const int32_t* weights = &w.values[static_cast<size_t>(x) * w.taps];
    const uint8_t* from = src + static_cast<size_t>(w.first[x]) * kChannels;
    int32_t sum[kChannels] = {kHalf, kHalf, kHalf};
    for (int t = 0; t < w.count[x]; ++t)
      for (int c = 0; c < kChannels; ++c) sum[c] += from[t * kChannels + c] * weights[t];
    for (int c = 0; c < kChannels; ++c) dst[x * kChannels + c] = Clip(sum[c]);
  }
}

BLIP_INLINE void HorizontalBody(const uint8_t* src, size_t src_stride, int rows, const Weights& w, int out_width,
                                 uint8_t* dst) {
  const size_t dst_stride = static_cast<size_t>(out_width) * kChannels;
  int y = 0;
  for (; y + 4 < rows; y += 4)
    ResampleRows<4>(src + y * src_stride, src_stride, w, out_width, dst + y * dst_stride, dst_stride);
  for (; y + 1 < rows; ++y)
    ResampleRows<1>(src + y * src_stride, src_stride, w, out_width, dst + y * dst_stride, dst_stride);
  for (; y < rows; ++y) ResampleLastRow(src + y * src_stride, w, out_width, dst + y * dst_stride);
}

// `Blocks` times eight neighbouring bytes of one output row.
template <int Blocks>
BLIP_INLINE void ResampleColumns(const uint8_t* from, size_t src_stride, const int32_t* weights, int count,
                                uint8_t* dst) {
  Int8 sum[Blocks];
  for (int b = 0; b < Blocks; ++b) sum[b] = Int8{kHalf, kHalf, kHalf, kHalf, kHalf, kHalf, kHalf, kHalf};
  for (int t = 0; t < count; ++t) {
    const int32_t k = weights[t];
    const Int8 weight = {k, k, k, k, k, k, k, k};
    for (int b = 0; b < Blocks; ++b) {
      Byte8 bytes;
      std::memcpy(&bytes, from + t * src_stride + b * 8, sizeof bytes);
      sum[b] += __builtin_convertvector(bytes, Int8) * weight;
    }
  }
  for (int b = 0; b < Blocks; ++b)
    for (int i = 0; i < 8; ++i) dst[b * 8 + i] = Clip(sum[b][i]);
}

BLIP_INLINE void VerticalBody(const uint8_t* src, size_t src_stride, int row_bytes, const Weights& w, int out_height,
                               uint8_t* dst) {
  for (int y = 0; y < out_height; ++y, dst += row_bytes) {
    const int32_t* weights = &w.values[static_cast<size_t>(y) * w.taps];
    const uint8_t* from = src + w.first[y] * src_stride;
    int x = 0;
    for (; x + 32 <= row_bytes; x += 32) ResampleColumns<4>(from + x, src_stride, weights, w.count[y], dst + x);
    for (; x + 8 <= row_bytes; x += 8) ResampleColumns<1>(from + x, src_stride, weights, w.count[y], dst + x);
    for (; x < row_bytes; ++x) {
      int32_t sum = kHalf;
      for (int t = 0; t < w.count[y]; ++t) sum += from[t * src_stride + x] * weights[t];
      dst[x] = Clip(sum);
    }
  }
}

// One build must run on any x86-64 and still use AVX2 where there is one, so both versions are compiled.
#if defined(__x86_64__)
#define BLIP_AVX2 __attribute__((target("avx2")))
bool HasAvx2() { return __builtin_cpu_supports("avx2"); }
#else
#define BLIP_AVX2
bool HasAvx2() { return false; }
#endif

BLIP_AVX2 void HorizontalAvx2(const uint8_t* src, size_t src_stride, int rows, const Weights& w, int out_width,
                               uint8_t* dst) {
  HorizontalBody(src, src_stride, rows, w, out_width, dst);
}

BLIP_AVX2 void VerticalAvx2(const uint8_t* src, size_t src_stride, int row_bytes, const Weights& w, int out_height,
                             uint8_t* dst) {
  VerticalBody(src, src_stride, row_bytes, w, out_height, dst);
}

void Horizontal(const uint8_t* src, size_t src_stride, int rows, const Weights& w, int out_width, uint8_t* dst) {
  if (HasAvx2()) return HorizontalAvx2(src, src_stride, rows, w, out_width, dst);
  HorizontalBody(src, src_stride, rows, w, out_width, dst);
}

void Vertical(const uint8_t* src, size_t src_stride, int row_bytes, const Weights& w, int out_height, uint8_t* dst) {
  if (HasAvx2()) return VerticalAvx2(src, src_stride, row_bytes, w, out_height, dst);
  VerticalBody(src, src_stride, row_bytes, w, out_height, dst);
}

// src: first pixel of the region, whose rows are `stride` bytes apart. A pass whose size stays is left out, as in
// Pillow: it would be the identity.
void Resize(const uint8_t* src, size_t stride, int width, int height, int out_width, int out_height, uint8_t* dst) {
  const size_t out_stride = static_cast<size_t>(out_width) * kChannels;
  std::unique_ptr<uint8_t[]> between;
  if (width != out_width) {
    const Weights weights = MakeWeights(width, out_width);
    uint8_t* to = dst;
    if (height != out_height) {
      between.reset(new uint8_t[out_stride * height]);
      to = between.get();
    }
    Horizontal(src, stride, height, weights, out_width, to);
    src = to;
    stride = out_stride;
  }
  if (height != out_height) {
    Vertical(src, stride, static_cast<int>(out_stride), MakeWeights(height, out_height), out_height, dst);
  } else if (width == out_width) {
    for (int y = 0; y < height; ++y) std::memcpy(dst + y * out_stride, src + y * stride, out_stride);
  }
}

int ReadInt(const Napi::CallbackInfo& info, size_t index, const char* name, int least, int most) {
  const Napi::Value value = info[index];
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!(number >= least && number <= most) || number != std::floor(number)) {
    throw Napi::TypeError::New(info.Env(), std::string("resizeBicubic expects an integer from ") +
                                               std::to_string(least) + " to " + std::to_string(most) + " for " + name);
  }
  return static_cast<int>(number);
}

uint8_t* ReadPixels(const Napi::CallbackInfo& info, size_t index, const char* name, int width, int height) {
  const Napi::Value value = info[index];
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw Napi::TypeError::New(info.Env(), std::string("resizeBicubic expects a Uint8Array for ") + name);
  }
  const Napi::Uint8Array array = value.As<Napi::Uint8Array>();
  const size_t needed = static_cast<size_t>(width) * height * kChannels;
  if (array.ByteLength() != needed) {
    throw Napi::TypeError::New(info.Env(), std::string("resizeBicubic expects ") + std::to_string(needed) +
                                               " bytes (" + std::to_string(width) + "x" + std::to_string(height) +
                                               " RGB) for " + name + " but received " +
                                               std::to_string(array.ByteLength()));
  }
  return const_cast<uint8_t*>(array.Data());
}

// resizeBicubic(src, width, height, outWidth, outHeight, dst, left?, top?, cropWidth?, cropHeight?)
Napi::Value ResizeBicubic(const Napi::CallbackInfo& info) {
  const int width = ReadInt(info, 1, "width", 1, kMaxSide);
  const int height = ReadInt(info, 2, "height", 1, kMaxSide);
  const int out_width = ReadInt(info, 3, "outWidth", 1, kMaxSide);
  const int out_height = ReadInt(info, 4, "outHeight", 1, kMaxSide);
  const uint8_t* src = ReadPixels(info, 0, "src", width, height);
  uint8_t* dst = ReadPixels(info, 5, "dst", out_width, out_height);
  int left = 0, top = 0, crop_width = width, crop_height = height;
  if (info.Length() > 6) {
    left = ReadInt(info, 6, "left", 0, width - 1);
    top = ReadInt(info, 7, "top", 0, height - 1);
    crop_width = ReadInt(info, 8, "cropWidth", 1, width - left);
    crop_height = ReadInt(info, 9, "cropHeight", 1, height - top);
  }
  const size_t stride = static_cast<size_t>(width) * kChannels;
  try {
    Resize(src + top * stride + static_cast<size_t>(left) * kChannels, stride, crop_width, crop_height, out_width,
           out_height, dst);
  } catch (const std::bad_alloc&) {
    throw Napi::Error::New(info.Env(), "resizeBicubic found no memory for an image of " + std::to_string(out_width) +
                                           "x" + std::to_string(crop_height) + " between its two passes");
  }
  return info.Env().Undefined();
}

}  // namespace

void InitImage(Napi::Env env, Napi::Object exports) {
  exports.Set("resizeBicubic", Napi::Function::New(env, ResizeBicubic, "resizeBicubic"));
}
