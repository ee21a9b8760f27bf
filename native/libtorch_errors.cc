// LibTorch's exceptions as JavaScript ones: without C++ frames and without its lists of backends.
#include <c10/util/Exception.h>

#include "values.h"

namespace {

std::string Shortened(std::string text) {
  // "Could not run 'aten::…' with arguments from the 'X' backend." is followed by pages about every backend there is.
  if (text.find("Could not run") != std::string::npos) text = text.substr(0, text.find(" This could be because"));
  const size_t allocator = text.find("DefaultCPUAllocator: ");  // preceded by a line of LibTorch's source
  if (allocator != std::string::npos) text = text.substr(allocator);
  return text;
}

}  // namespace

bool DescribeLibtorchError(const std::exception& error, JsError* out) {
  const auto* libtorch = dynamic_cast<const c10::Error*>(&error);
  if (libtorch == nullptr) return false;
  out->text = Shortened(libtorch->what_without_backtrace());
  out->type_error = dynamic_cast<const c10::TypeError*>(&error) != nullptr;
  // GPU allocators throw OutOfMemoryError, the CPU's a plain c10::Error.
  const bool memory = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
                      out->text.find("can't allocate memory") != std::string::npos;
  if (memory) out->code = kMemoryCode;
  return true;
}
