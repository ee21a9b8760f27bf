// Augmentation of 8-bit RGB images where JavaScript is too slow: mirroring, histograms, look-up tables, and affine
// warps with exactly OpenCV's arithmetic.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "pixels.h"

namespace {

// OpenCV's fixed point: coordinates in 1/1024 of a pixel, of which sampling keeps 1/32, so weights are in 1/1024.
constexpr int kCoordinateBits = 10;
constexpr int kSampleBits = 5;
constexpr int kDropped = kCoordinateBits - kSampleBits;
constexpr int kSteps = 1 << kSampleBits;
constexpr int kWeightBits = 2 * kSampleBits;
constexpr int kMaxSide = 1 << 14;  // keeps coordinates of any sensible matrix within 32 bits

// A pixel's three values in one number, 21 bits apart: room for their sums with weights that add up to 1024.
constexpr int kLane = 21;
inline uint64_t Spread(uint64_t red, uint64_t green, uint64_t blue) { return red | green << kLane | blue << 2 * kLane; }

// The pixels of src, spread, with a ring of `fill` around them: (width + 2) x (height + 2).
std::unique_ptr<uint64_t[]> SpreadWithRing(const Image& src, uint8_t fill) {
  const size_t stride = src.width + 2;
  std::unique_ptr<uint64_t[]> grid(new uint64_t[stride * (src.height + 2)]);
  const uint64_t outside = Spread(fill, fill, fill);
  uint64_t* cell = std::fill_n(grid.get(), stride, outside);
  const uint8_t* p = src.data;
  for (int y = 0; y < src.height; ++y) {
    *cell++ = outside;
    for (int x = 0; x < src.width; ++x, p += kChannels) *cell++ = Spread(p[0], p[1], p[2]);
    *cell++ = outside;
  }
  std::fill_n(cell, stride, outside);
  return grid;
}

int32_t Fixed(double value) {
  const double fixed = std::nearbyint(value * (1 << kCoordinateBits));  // half to even, as OpenCV's cvRound
  return static_cast<int32_t>(std::fmin(std::fmax(fixed, INT32_MIN / 4), INT32_MAX / 4));
}

// dst(x, y) = src(m0 x + m1 y + m2, m3 x + m4 y + m5), bilinear; outside src every value is `fill`.
void Warp(const Image& src, const Image& dst, const double m[6], uint8_t fill) {
  const std::unique_ptr<uint64_t[]> grid = SpreadWithRing(src, fill);
  // Copies, which the compiler may keep in registers while bytes are written.
  const int src_width = src.width, src_height = src.height, dst_width = dst.width;
  const int stride = src_width + 2;
  std::vector<std::pair<int32_t, int32_t>> along(dst_width);
  for (int x = 0; x < dst_width; ++x) along[x] = {Fixed(m[0] * x), Fixed(m[3] * x)};
  constexpr int32_t half = 1 << (kDropped - 1);
  const uint64_t rounding = Spread(1, 1, 1) << (kWeightBits - 1);
  for (int y = 0; y < dst.height; ++y) {
    const int32_t x0 = Fixed(m[1] * y + m[2]) + half;
    const int32_t y0 = Fixed(m[4] * y + m[5]) + half;
    uint8_t* out = dst.pixel(0, y);
    for (int x = 0; x < dst_width; ++x, out += kChannels) {
      const int32_t sx = (x0 + along[x].first) >> kDropped;
      const int32_t sy = (y0 + along[x].second) >> kDropped;
      const int px = sx >> kSampleBits, py = sy >> kSampleBits;
      if (px < -1 || py < -1 || px >= src_width || py >= src_height) {
        std::memset(out, fill, kChannels);
        continue;
      }
      const uint64_t* above = &grid[static_cast<size_t>(py + 1) * stride + px + 1];
      const uint64_t* below = above + stride;
      const int fx = sx & (kSteps - 1), fy = sy & (kSteps - 1);
      const uint64_t upper = above[0] * (kSteps - fx) + above[1] * fx;
      const uint64_t lower = below[0] * (kSteps - fx) + below[1] * fx;
      const uint64_t value = (upper * (kSteps - fy) + lower * fy + rounding) >> kWeightBits;
      out[0] = static_cast<uint8_t>(value);
      out[1] = static_cast<uint8_t>(value >> kLane);
      out[2] = static_cast<uint8_t>(value >> 2 * kLane);
    }
  }
}

int SideOf(Info info, size_t index) { return static_cast<int>(IntegerOf(info, index, 1, kMaxSide)); }

// mirrorRows(pixels, width, height): left to right, in place
void MirrorRows(Info info) {
  const int width = SideOf(info, 1);
  const Image image = ImageOf(info, 0, width, SideOf(info, 2));
  for (int y = 0; y < image.height; ++y) {
    uint8_t* left = image.pixel(0, y);
    uint8_t* right = image.pixel(width - 1, y);
    for (; left < right; left += kChannels, right -= kChannels) std::swap_ranges(left, left + kChannels, right);
  }
}

// channelHistograms(pixels): how often each value occurs, 256 counts of red, then of green, then of blue
Napi::Value ChannelHistograms(Info info) {
  const Bytes pixels = BytesOf(info, 0);
  Napi::Uint32Array result = Napi::Uint32Array::New(info.Env(), kChannels * 256);
  // Two alternating sets: neighbours are often equal, and a count cannot be raised before its last raise is stored.
  uint32_t counts[2][kChannels][256] = {};
  for (size_t i = 0; i + kChannels <= pixels.size; i += kChannels) {
    for (int c = 0; c < kChannels; ++c) ++counts[i & 1][c][pixels.data[i + c]];
  }
  for (int i = 0; i < kChannels * 256; ++i) result[i] = counts[0][i / 256][i % 256] + counts[1][i / 256][i % 256];
  return result;
}

// lookUp(pixels, tables): each value replaced, in place, by its channel's entry among 3 x 256
void LookUp(Info info) {
  const Bytes pixels = BytesOf(info, 0);
  const Bytes tables = BytesOf(info, 1, kChannels * 256);
  for (size_t i = 0; i + kChannels <= pixels.size; i += kChannels) {
    for (int c = 0; c < kChannels; ++c) pixels.data[i + c] = tables.data[c * 256 + pixels.data[i + c]];
  }
}

// warpAffine(source, destination, width, height, [m0..m5] from destination to source, fill)
void WarpAffine(Info info) {
  const int width = SideOf(info, 2);
  const int height = SideOf(info, 3);
  double matrix[6];
  int count = 0;
  const int64_t fault = ReadArray(info.Env(), info[4], [&](napi_value element) {
    return count < 6 && ReadFloat(info.Env(), element, &matrix[count]) && std::isfinite(matrix[count++]);
  });
  if (fault != kFits || count < 6) RejectArgument(info, 4, "six finite numbers", fault);
  const auto fill = static_cast<uint8_t>(IntegerOf(info, 5, 0, 255));
  const Image src = ImageOf(info, 0, width, height);
  const Image dst = ImageOf(info, 1, width, height);
  if (src.data < dst.data + dst.bytes() && dst.data < src.data + src.bytes())
    throw ArgumentError("source and destination overlap");
  Warp(src, dst, matrix, fill);
}

}  // namespace

void InitAugment(Napi::Env env, Napi::Object exports) {
  const Parameter pixels{"pixels", kBytes}, width{"width", kInteger}, height{"height", kInteger};
  Export(env, exports, "mirrorRows", MirrorRows, {pixels, width, height});
  Export(env, exports, "channelHistograms", ChannelHistograms, {pixels});
  Export(env, exports, "lookUp", LookUp, {pixels, {"tables", kBytes}});
  Export(env, exports, "warpAffine", WarpAffine,
         {{"source", kBytes}, {"destination", kBytes}, width, height, {"matrix", kArray}, {"fill", kInteger}});
}
