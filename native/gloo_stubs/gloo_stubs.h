// Stand-ins for gloo's headers. LibTorch's packages contain gloo compiled in, and ProcessGroupGloo.hpp, but not the
// headers it includes. ProcessGroupGloo keeps only pointers to gloo's classes and creates their objects inside
// LibTorch, so declarations that compile are enough: nothing here is ever constructed or called by the addon. The build
// makes gloo's headers, which include this one.
#pragma once
#include <chrono>
#include <string>
#include <vector>

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

namespace gloo::rendezvous {
class Store {
 public:
  virtual ~Store() = default;
  virtual void set(const std::string& key, const std::vector<char>& data) = 0;
  virtual std::vector<char> get(const std::string& key) = 0;
  virtual void wait(const std::vector<std::string>& keys) = 0;
  virtual void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) = 0;
};
}  // namespace gloo::rendezvous
