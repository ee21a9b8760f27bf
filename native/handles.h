// Tensors, generators and file mappings as JavaScript numbers: a slot index and a generation in one integer of
// [2^52, 2^53). A stale or invented number is noticed, and number arguments refuse the window.
#pragma once
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <variant>

// A file mapped privately for reading; tensors made from it keep it mapped.
struct MappedFile {
  void* data = nullptr;
  size_t size = 0;
  std::string path;
  MappedFile(const MappedFile&) = delete;
  MappedFile() = default;
  ~MappedFile();
};

using Held = std::variant<std::monostate, at::Tensor, at::Generator, std::shared_ptr<MappedFile>>;

constexpr double kHandleBase = 4503599627370496.0;   // 2^52
constexpr double kHandleLimit = 9007199254740992.0;  // 2^53
inline bool IsHandle(double value) { return value >= kHandleBase && value < kHandleLimit; }

// All functions are safe to call from any thread. Get* return false for anything but a live handle of that kind.
// Handles of a worker thread end with it (see BeginThread); those kShared, and the main thread's, live until dropped.
enum class Ownership { kThread, kShared };
double PutHandle(Held value, Ownership ownership = Ownership::kThread);
bool GetTensor(double handle, at::Tensor* out);
bool GetGenerator(double handle, at::Generator* out);
bool GetMapping(double handle, std::shared_ptr<MappedFile>* out);
// True when the handle was live; what it held is destroyed outside the lock. A dropped handle is never valid again.
// `untold` grows by what TellMemory answered for the handle, if that was on this thread: each has its own V8.
bool DropHandle(double handle, int64_t* untold = nullptr);
// The bytes to tell this thread's V8 of, where disposing of the tensor frees many and V8 was not told before; else 0.
int64_t TellMemory(double handle);
// What a worker thread calls when it opens the addon, and when its JavaScript has ended: nothing of it is left then
// that could dispose what it made.
void BeginThread();
void EndThread();
bool IsLive(double handle);
// What an error calls it: "a tensor", "a generator", "a disposed handle" …
std::string DescribeHandle(double handle);
size_t LiveHandles();
