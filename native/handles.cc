// The slot table behind native/handles.h: one for the process, shared by all threads and never destroyed, so that an
// exit while tensors live runs no destructor of a half-unloaded library.
#include "handles.h"

#include <atomic>
#include <mutex>
#include <vector>

#include "values.h"

namespace {
constexpr uint64_t kIndexBits = 24;
constexpr uint64_t kIndexMask = (uint64_t{1} << kIndexBits) - 1;
constexpr int64_t kLeastReported = 64 << 10;
// V8 runs a GC after every 64 MB of reported external memory, useful or not; we report a quarter, so long-lived
// features cost nothing measurable and forgotten tensors stay below 500 MB.
constexpr int64_t kReportedShare = 4;
constexpr uint32_t kLastGeneration = (uint32_t{1} << 28) - 1;

// Number of a worker thread; 0 for the main one, whose handles have no owner: the process ends with it.
thread_local uint32_t this_thread = 0;

struct Slot {
  uint32_t generation = 0;
  uint32_t thread = 0;
  uint32_t reporter = 0;  // the thread to whose V8 the bytes were reported
  int64_t reported = 0;
  Held value;
};

struct Table {
  std::mutex mutex;
  std::vector<Slot> slots;
  std::vector<uint32_t> free;
  size_t live = 0;
};

Table& table = *new Table;

// The slot of a live handle, or null. Call with the lock held.
Slot* Find(double handle) {
  if (!IsHandle(handle)) return nullptr;
  const uint64_t bits = static_cast<uint64_t>(handle - kHandleBase);
  const uint64_t index = bits & kIndexMask;
  if (index >= table.slots.size()) return nullptr;
  Slot& slot = table.slots[index];
  if (slot.generation != static_cast<uint32_t>(bits >> kIndexBits) || slot.value.index() == 0) return nullptr;
  return &slot;
}

// Frees a live slot and returns what it held. Call with the lock held, destroy the result without it.
Held Empty(Slot& slot) {
  Held value = std::move(slot.value);
  slot.value = std::monostate{};
  slot.reported = 0;
  slot.generation++;
  // A slot that has used all its generations is retired, so that no stale handle ever names a later tensor.
  if (slot.generation <= kLastGeneration) table.free.push_back(static_cast<uint32_t>(&slot - table.slots.data()));
  table.live--;
  return value;
}
}  // namespace

double PutHandle(Held value, Ownership ownership) {
  std::lock_guard<std::mutex> lock(table.mutex);
  uint32_t index;
  if (!table.free.empty()) {
    index = table.free.back();
    table.free.pop_back();
  } else {
    TORCH_CHECK(table.slots.size() <= kIndexMask, "more than ", kIndexMask,
                " tensors are alive: some code never disposes its tensors");
    index = static_cast<uint32_t>(table.slots.size());
    table.slots.emplace_back();
  }
  Slot& slot = table.slots[index];
  slot.value = std::move(value);
  slot.thread = ownership == Ownership::kThread ? this_thread : 0;
  table.live++;
  return kHandleBase + static_cast<double>((uint64_t{slot.generation} << kIndexBits) | index);
}

template <class T>
bool GetHeld(double handle, T* out) {
  std::lock_guard<std::mutex> lock(table.mutex);
  Slot* slot = Find(handle);
  const T* value = slot == nullptr ? nullptr : std::get_if<T>(&slot->value);
  if (value != nullptr) *out = *value;
  return value != nullptr;
}
template bool GetHeld(double handle, at::Tensor* out);
template bool GetHeld(double handle, at::Generator* out);
template bool GetHeld(double handle, std::shared_ptr<c10::Event>* out);

std::optional<int64_t> DropHandle(double handle) {
  Held dropped;  // before the lock, so destroyed after it
  std::lock_guard<std::mutex> lock(table.mutex);
  Slot* slot = Find(handle);
  if (slot == nullptr) return std::nullopt;
  const int64_t reported = slot->reporter == this_thread ? slot->reported : 0;
  dropped = Empty(*slot);
  return reported;
}

int64_t ReportExternalMemory(double handle) {
  std::lock_guard<std::mutex> lock(table.mutex);
  Slot* slot = Find(handle);
  const at::Tensor* tensor = slot == nullptr ? nullptr : std::get_if<at::Tensor>(&slot->value);
  if (tensor == nullptr || slot->reported > 0 || !tensor->has_storage()) return 0;
  const c10::Storage& storage = tensor->storage();
  // Disposing of a view frees nothing, nor of a mapped file's memory, which has no allocator.
  const auto bytes = static_cast<int64_t>(storage.nbytes());
  if (bytes < kLeastReported || storage.use_count() > 1 || storage.allocator() == nullptr) return 0;
  slot->reported = bytes / kReportedShare;
  slot->reporter = this_thread;
  return slot->reported;
}

void BeginThread() {
  static std::atomic<uint32_t> threads{0};
  if (this_thread == 0) this_thread = ++threads;
}

void EndThread() {
  std::vector<Held> dropped;
  std::lock_guard<std::mutex> lock(table.mutex);
  for (Slot& slot : table.slots)
    if (slot.thread == this_thread && slot.value.index() != 0) dropped.push_back(Empty(slot));
}

bool IsLive(double handle) {
  std::lock_guard<std::mutex> lock(table.mutex);
  return Find(handle) != nullptr;
}

std::string DescribeHandle(double handle) {
  std::lock_guard<std::mutex> lock(table.mutex);
  const Slot* slot = Find(handle);
  if (slot == nullptr) return "a handle that was disposed or never existed";
  if (std::holds_alternative<at::Tensor>(slot->value)) return "a tensor";
  if (std::holds_alternative<at::Generator>(slot->value)) return "a generator";
  return "an event";
}

size_t LiveHandles() {
  std::lock_guard<std::mutex> lock(table.mutex);
  return table.live;
}
