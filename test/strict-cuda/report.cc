// What was done on the stand-in's devices, by name, written to STRICT_CUDA_REPORT ("%p" in it is the process' number)
// whenever a program synchronizes a device, and at its end: {"counts": {name: number, …}, "attentionShapes": number}.
//   upload.blocking    host to device, and the host waits until all earlier work is done and the copy too
//   upload.pinned      from pinned memory, without a wait
//   upload.pageable    non-blocking from memory that is not pinned: on a GPU the driver decides whether it waits
//   download.blocking, download.pinned    device to host
//   read.OPERATOR      an operator whose result or check is read by the host: it waits
//   wait.NAME          synchronizeDevice, synchronizeStream, synchronizeEvent
//   nccl.NAME          collectives, shutdown, abort
//   operators, operator.NAME
//   scalar.OPERATOR    a 0-dim tensor of the CPU was taken as a number
//   elsewhere          operators on another device than the current one
// attentionShapes: shapes of 16-bit attention for each of which cuDNN would have built a plan.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>

#include "strict.h"

namespace strict {
namespace {

struct Counters {
  std::mutex mutex;
  std::map<std::string, int64_t> counts;
  std::set<std::string> shapes;
};
// Never destroyed: threads and other libraries' destructors still count while the process ends.
Counters& All() {
  static auto* all = new Counters;
  return *all;
}

__attribute__((destructor)) void WriteAtEnd() { WriteReport(); }

}  // namespace

void Count(const std::string& what, int64_t by) {
  std::lock_guard<std::mutex> lock(All().mutex);
  All().counts[what] += by;
}

void CountAttentionShape(const std::string& shape) {
  std::lock_guard<std::mutex> lock(All().mutex);
  All().shapes.insert(shape);
}

void WriteReport() {
  const char* wanted = std::getenv("STRICT_CUDA_REPORT");
  if (wanted == nullptr || *wanted == '\0') return;
  std::string path = wanted;
  if (const size_t at = path.find("%p"); at != std::string::npos) path.replace(at, 2, std::to_string(getpid()));
  std::lock_guard<std::mutex> lock(All().mutex);
  const std::string unfinished = path + ".part";
  std::FILE* file = std::fopen(unfinished.c_str(), "w");
  if (file == nullptr) return;
  std::fputs("{\"counts\": {", file);
  const char* between = "";
  for (const auto& [what, count] : All().counts) {
    std::fprintf(file, "%s\n  \"%s\": %lld", between, what.c_str(), static_cast<long long>(count));
    between = ",";
  }
  std::fprintf(file, "\n}, \"attentionShapes\": %zu}\n", All().shapes.size());
  std::fclose(file);
  std::rename(unfinished.c_str(), path.c_str());
}

}  // namespace strict
