// 8-bit RGB pixels that JavaScript passes to image.node.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../exports.h"

constexpr int kChannels = 3;

struct Image {
  uint8_t* data;
  int width;
  int height;
  size_t stride() const { return static_cast<size_t>(width) * kChannels; }
  size_t bytes() const { return stride() * height; }
  uint8_t* pixel(int x, int y) const { return data + y * stride() + static_cast<size_t>(x) * kChannels; }
};

// Argument `index`, which must have the bytes of such an image. Valid until JavaScript runs.
inline Image ImageOf(Info info, size_t index, int width, int height) {
  const Bytes bytes = BytesOf(info, index);
  const Image image{bytes.data, width, height};
  if (bytes.size == image.bytes()) return image;
  RejectArgument(
      info, index,
      std::to_string(image.bytes()) + " bytes (" + std::to_string(width) + "x" + std::to_string(height) + " RGB)",
      std::to_string(bytes.size));
}
