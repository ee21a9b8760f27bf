// Augmentation of 8-bit RGB images where JavaScript is too slow: mirroring, and affine warps with exactly the arithmetic
// of OpenCV. Knows no tensor and keeps no state, so any thread may call it.
#include "exports.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int kChannels = 3;
// OpenCV's fixed point: coordinates in 1/1024 of a pixel, of which sampling keeps 1/32, so weights are in 1/1024.
constexpr int kCoordinateBits = 10;
constexpr int kSampleBits = 5;
constexpr int kDropped = kCoordinateBits - kSampleBits;
constexpr int kSteps = 1 << kSampleBits;
constexpr int kWeightBits = 2 * kSampleBits;
constexpr int kMaxSide = 1 << 14;  // keeps coordinates of any sensible matrix within 32 bits

typedef int32_t Int4 __attribute__((vector_size(16)));
typedef uint8_t Byte4 __attribute__((vector_size(4)));

struct Image {
  uint8_t* data;
  int width;
  int height;
  size_t bytes() const { return static_cast<size_t>(width) * height * kChannels; }
  uint8_t* pixel(int x, int y) const { return data + (static_cast<size_t>(y) * width + x) * kChannels; }
};

// A pixel and the first byte of the next: the caller sees to it that there is one.
inline Int4 Load(const uint8_t* pixel) {
  Byte4 bytes;
  std::memcpy(&bytes, pixel, sizeof bytes);
  return __builtin_convertvector(bytes, Int4);
}

inline Int4 Blend(Int4 a, Int4 b, Int4 c, Int4 d, int fx, int fy) {
  const Int4 sum = (a * (kSteps - fx) + b * fx) * (kSteps - fy) + (c * (kSteps - fx) + d * fx) * fy;
  return (sum + (1 << (kWeightBits - 1))) >> kWeightBits;
}

inline void Store(Int4 value, uint8_t* dst) {
  for (int c = 0; c < kChannels; ++c) dst[c] = static_cast<uint8_t>(value[c]);
}

int32_t Fixed(double value) {
  const double fixed = std::nearbyint(value * (1 << kCoordinateBits));  // half to even, as OpenCV's cvRound
  return static_cast<int32_t>(std::fmin(std::fmax(fixed, INT32_MIN / 4), INT32_MAX / 4));
}

// dst(x, y) = src(m0 x + m1 y + m2, m3 x + m4 y + m5), bilinear; outside of src everything has the value `fill`.
void Warp(const Image& src, const Image& dst, const double m[6], uint8_t fill) {
  std::vector<std::pair<int32_t, int32_t>> along(dst.width);
  for (int x = 0; x < dst.width; ++x) along[x] = {Fixed(m[0] * x), Fixed(m[3] * x)};
  const Int4 outside{fill, fill, fill, fill};
  const auto sample = [&](int x, int y) {
    if (x < 0 || y < 0 || x >= src.width || y >= src.height) return outside;
    const uint8_t* p = src.pixel(x, y);
    return Int4{p[0], p[1], p[2], 0};
  };
  constexpr int32_t half = 1 << (kDropped - 1);
  for (int y = 0; y < dst.height; ++y) {
    const int32_t x0 = Fixed(m[1] * y + m[2]) + half;
    const int32_t y0 = Fixed(m[4] * y + m[5]) + half;
    uint8_t* out = dst.pixel(0, y);
    for (int x = 0; x < dst.width; ++x, out += kChannels) {
      const int32_t sx = (x0 + along[x].first) >> kDropped;
      const int32_t sy = (y0 + along[x].second) >> kDropped;
      const int px = sx >> kSampleBits, fx = sx & (kSteps - 1);
      const int py = sy >> kSampleBits, fy = sy & (kSteps - 1);
      if (px >= 0 && py >= 0 && px + 2 < src.width && py + 1 < src.height) {  // + 2: Load reads one byte further
        const uint8_t* p = src.pixel(px, py);
        const uint8_t* q = src.pixel(px, py + 1);
        Store(Blend(Load(p), Load(p + kChannels), Load(q), Load(q + kChannels), fx, fy), out);
      } else if (px < -1 || py < -1 || px >= src.width || py >= src.height) {
        std::memset(out, fill, kChannels);
      } else {
        Store(Blend(sample(px, py), sample(px + 1, py), sample(px, py + 1), sample(px + 1, py + 1), fx, fy), out);
      }
    }
  }
}

Image ReadImage(const Napi::CallbackInfo& info, const char* function, size_t index, int width, int height) {
  const Image image{BytesOf(info[index]).data, width, height};
  if (width < 1 || height < 1 || width > kMaxSide || height > kMaxSide || BytesOf(info[index]).size != image.bytes()) {
    throw Napi::TypeError::New(info.Env(), std::string(function) + ": expected " + std::to_string(width) + "x" +
                                               std::to_string(height) + " RGB pixels but received " +
                                               std::to_string(BytesOf(info[index]).size) + " bytes");
  }
  return image;
}

// mirrorRows(pixels, width, height): left to right, in place
Napi::Value MirrorRows(const Napi::CallbackInfo& info) {
  const int width = info[1].As<Napi::Number>().Int32Value();
  const Image image = ReadImage(info, "mirrorRows", 0, width, info[2].As<Napi::Number>().Int32Value());
  for (int y = 0; y < image.height; ++y) {
    uint8_t* left = image.pixel(0, y);
    uint8_t* right = image.pixel(width - 1, y);
    for (; left < right; left += kChannels, right -= kChannels) {
      for (int c = 0; c < kChannels; ++c) std::swap(left[c], right[c]);
    }
  }
  return info.Env().Undefined();
}

// warpAffine(source, destination, width, height, [m0..m5] from destination to source, fill)
Napi::Value WarpAffine(const Napi::CallbackInfo& info) {
  const int width = info[2].As<Napi::Number>().Int32Value();
  const int height = info[3].As<Napi::Number>().Int32Value();
  const Image src = ReadImage(info, "warpAffine", 0, width, height);
  const Image dst = ReadImage(info, "warpAffine", 1, width, height);
  if (src.data < dst.data + dst.bytes() && dst.data < src.data + src.bytes()) {
    throw Napi::TypeError::New(info.Env(), "warpAffine: source and destination overlap");
  }
  const Napi::Array list = info[4].As<Napi::Array>();
  double matrix[6];
  for (uint32_t i = 0; i < 6; ++i) {
    const Napi::Value value = list[i];
    matrix[i] = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
    if (!std::isfinite(matrix[i])) throw Napi::TypeError::New(info.Env(), "warpAffine: expected six finite numbers");
  }
  Warp(src, dst, matrix, static_cast<uint8_t>(info[5].As<Napi::Number>().Int32Value()));
  return info.Env().Undefined();
}

}  // namespace

void InitAugment(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "mirrorRows", MirrorRows, {Want::kBytes, Want::kNumber, Want::kNumber});
  Export(env, exports, "warpAffine", WarpAffine,
         {Want::kBytes, Want::kBytes, Want::kNumber, Want::kNumber, Want::kArray, Want::kNumber});
}
