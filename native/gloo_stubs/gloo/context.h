// Stand-ins for gloo's headers. LibTorch's packages contain gloo compiled in, and ProcessGroupGloo.hpp, but not the
// headers it includes. ProcessGroupGloo keeps only pointers to gloo's classes and creates their objects inside
// LibTorch, so declarations that compile are enough: nothing here is ever constructed or called by the addon.
#pragma once
#include <chrono>
#include <memory>

namespace gloo::transport {
class Device;
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = default;
};
}  // namespace gloo::transport

namespace gloo {
class Context {
 public:
  void setTimeout(std::chrono::milliseconds) {}
};
}  // namespace gloo
