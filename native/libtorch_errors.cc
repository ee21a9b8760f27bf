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

// GPU allocators throw OutOfMemoryError. The CPU's throws a plain c10::Error, and so do those who ask the driver for
// memory themselves: the CUDA runtime for its context and kernels, cuBLAS and cuDNN, and NCCL for its buffers.
bool IsLackOfMemory(const std::string& text) {
  for (const char* words : {"can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
                            "CUDNN_STATUS_ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"})
    if (text.find(words) != std::string::npos) return true;
  // "Cuda failure 'out of memory'", from NCCL 2.21 on "Cuda failure 2 'out of memory'".
  const size_t nccl = text.find("uda failure");
  return nccl != std::string::npos && text.find("'out of memory'", nccl) != std::string::npos;
}

}  // namespace

bool DescribeLibtorchError(const std::exception& error, JsError* out) {
  const auto* libtorch = dynamic_cast<const c10::Error*>(&error);
  if (libtorch == nullptr) return false;
  out->text = Shortened(libtorch->what_without_backtrace());
  out->type_error = dynamic_cast<const c10::TypeError*>(&error) != nullptr;
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr || IsLackOfMemory(out->text))
    out->code = kMemoryCode;
  return true;
}
