// Tensors, generators and events as JavaScript numbers: a slot index and a generation in one integer of
// [2^52, 2^53). Stale and invented handles are detected, and number arguments refuse the window (values.h).
#pragma once
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <memory>
#include <optional>
#include <variant>

using Held = std::variant<std::monostate, at::Tensor, at::Generator, std::shared_ptr<c10::Event>>;

// All functions may be called from any thread. GetHeld returns false for anything but a live handle of that kind.
// A worker thread's handles end with it (see BeginThread); kShared ones, and the main thread's, live until dropped.
enum class Ownership { kThread, kShared };
double PutHandle(Held value, Ownership ownership = Ownership::kThread);
template <class T>
bool GetHeld(double handle, T* out);
// Nothing when the handle was not live; what it held is destroyed outside the lock. A dropped handle is never valid
// again. Returns what ReportExternalMemory did for the handle, if that was on this thread: each has its own V8.
std::optional<int64_t> DropHandle(double handle);
// The bytes to report to this thread's V8 as external memory, if disposing of the tensor frees enough to matter and
// they were not reported before; else 0.
int64_t ReportExternalMemory(double handle);
// Called when a worker loads the addon and when its environment is torn down; EndThread drops the worker's remaining
// handles, which no JavaScript could dispose any more.
void BeginThread();
void EndThread();
bool IsLive(double handle);
size_t LiveHandles();
