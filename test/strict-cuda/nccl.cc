// c10d::ProcessGroupNCCL over Gloo: the constructors that libblip_nccl.so asks libtorch_cuda for. It refuses what NCCL
// refuses and ends as NCCL ends: when a rank is lost or late, the process is taken down by the watchdog, shutdown()
// waits for ever, abort() does not. STRICT_CUDA_NCCL has ranks fail: "die=1:3" kills rank 1 at its third collective,
// "hang=1:3" has it stand still there, "fail=1:3" throws at it as a communicator that was aborted does, "lost=error"
// has a lost rank noticed as over a network (without it the others hang, as between GPUs of one machine); commas
// between several. Collective 0 is shutdown(). A process that is torn down while a communicator is in use crashes, as
// under NCCL's threads. STRICT_CUDA_NCCL_VERSION (22809) is that of the nccl.h that LibTorch was compiled with.
#include <ATen/ops/zeros.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cstring>

#include <fcntl.h>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/reducer_timer.hpp>

#include "strict.h"

#define VISIBLE __attribute__((visibility("default")))

namespace torch::cuda::nccl {
VISIBLE std::uint64_t version() {
  const auto code = static_cast<std::uint64_t>(strict::Setting("STRICT_CUDA_NCCL_VERSION", 22809));
  return code / 10000 << 32 | code / 100 % 100 << 16 | code % 100;
}
}  // namespace torch::cuda::nccl

namespace strict {
namespace {

constexpr const char* kRemoteError =
    "NCCL error: remote process exited or there was a network error, NCCL version 2.28.9\nncclRemoteError: A call "
    "failed possibly due to a network error or a remote process exiting prematurely.\nLast error:\nsocketProgress: "
    "Connection closed by remote peer 127.0.0.1";

// What STRICT_CUDA_NCCL says of `kind` for this rank's collective `number`.
bool IsPlanned(const char* kind, int rank, int64_t number) {
  const char* text = std::getenv("STRICT_CUDA_NCCL");
  std::istringstream all(text == nullptr ? "" : text);
  const std::string wanted = c10::str(kind, "=", rank, ":", number);
  for (std::string one; std::getline(all, one, ',');)
    if (one == wanted || one == kind) return true;
  return false;
}

[[noreturn]] void StandStill() {
  for (;;) pause();
}

// As NCCL's watchdog: the exception leaves a thread, so std::terminate prints it and ends the process by SIGABRT.
[[noreturn]] void WatchdogThrows(int rank, const std::string& reason) {
  std::thread([=] {
    const std::string where = c10::str("[PG ID 0 PG GUID 0 Rank ", rank, "] ");
    throw c10::DistBackendError({__func__, __FILE__, __LINE__},
                                where + "Process group watchdog thread terminated with exception: " + reason);
  }).detach();
  StandStill();
}

// Communicators that were neither shut down nor aborted.
std::atomic<int> communicators{0};
__attribute__((destructor)) void TornDown() {
  if (communicators == 0) return;
  std::fputs("strict: the process is torn down under NCCL's threads\n", stderr);
  std::abort();
}

// Which ranks have come to shutdown(), in memory that all share: the store may be gone by then.
struct Board {
  std::atomic<bool> left[64];
};

}  // namespace
}  // namespace strict

namespace c10d {

class VISIBLE ProcessGroupNCCL : public Backend {
 public:
  struct VISIBLE Options : Backend::Options {
    explicit Options(bool is_high_priority_stream = false);
  };
  ProcessGroupNCCL(c10::intrusive_ptr<Store> store, int rank, int size, c10::intrusive_ptr<Options> options);

  const std::string getBackendName() const override { return "nccl"; }
  void setSequenceNumberForGroup() override {}
  uint64_t getSequenceNumberForGroup() override { return number_; }

  void shutdown() override {
    strict::Count("nccl.shutdown");
    if (board_ == nullptr || aborted_) return;  // a communicator is made by the first collective
    if (strict::IsPlanned("die", getRank(), 0)) raise(SIGKILL);
    board_->left[getRank()] = true;
    for (int other = 0; other < getSize(); other++)
      while (!board_->left[other]) usleep(1000);
    if (!aborted_.exchange(true)) strict::communicators--;
  }
  void abort() override {
    strict::Count("nccl.abort");
    if (!aborted_.exchange(true) && board_ != nullptr) strict::communicators--;
  }

  c10::intrusive_ptr<Work> broadcast(std::vector<at::Tensor>& tensors, const BroadcastOptions& options) override {
    auto host = Begin("broadcast", tensors);
    return End("BROADCAST", tensors, [&] { return gloo_->broadcast(host, options); });
  }
  c10::intrusive_ptr<Work> allreduce(std::vector<at::Tensor>& tensors, const AllreduceOptions& options) override {
    auto host = Begin("allreduce", tensors);
    return End("ALLREDUCE", tensors, [&] { return gloo_->allreduce(host, options); });
  }
  c10::intrusive_ptr<Work> allgather(std::vector<std::vector<at::Tensor>>& outputs, std::vector<at::Tensor>& inputs,
                                     const AllgatherOptions& options) override {
    auto host = Begin("allgather", inputs);
    std::vector<std::vector<at::Tensor>> host_outputs;
    for (const auto& list : outputs) host_outputs.push_back(Check("allgather", list));
    return End("ALLGATHER", outputs[0], [&] { return gloo_->allgather(host_outputs, host, options); });
  }
  c10::intrusive_ptr<Work> _allgather_base(at::Tensor& output, at::Tensor& input,
                                           const AllgatherOptions& options) override {
    auto host = Begin("_allgather_base", {output, input});
    TORCH_CHECK(output.scalar_type() == input.scalar_type(), "output tensor must have the same type as input tensor");
    TORCH_CHECK(output.numel() == input.numel() * getSize(),
                "output tensor size must be equal to world_size times input tensor size");
    return End("_ALLGATHER_BASE", {output}, [&] { return gloo_->_allgather_base(host[0], host[1], options); });
  }
  c10::intrusive_ptr<Work> _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                                const ReduceScatterOptions& options) override {
    auto host = Begin("_reduce_scatter_base", {output, input});
    TORCH_CHECK(output.scalar_type() == input.scalar_type(), "input tensor must be the same type as the output tensor");
    TORCH_CHECK(output.numel() * getSize() == input.numel(),
                "input tensor must be the same size as output size times world size");
    std::vector<at::Tensor> all{host[1].clone()};
    AllreduceOptions sum;
    sum.reduceOp = options.reduceOp;
    return End(
        "_REDUCE_SCATTER_BASE", {output}, [&] { return gloo_->allreduce(all, sum); },
        [&] { host[0].view(-1).copy_(all[0].view({getSize(), -1})[getRank()]); });
  }
  c10::intrusive_ptr<Work> barrier(const BarrierOptions& options) override {
    Begin("barrier", {});
    return End("BARRIER", {}, [&] { return gloo_->barrier(options); });
  }

 private:
  class Finished : public Work {
   public:
    Finished(const std::vector<at::Tensor>& tensors, c10::Device device) {
      future_ = c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()),
                                                         std::vector<c10::Device>{device});
      future_->markCompleted(c10::IValue(tensors));
    }
    bool isCompleted() override { return true; }
    bool isSuccess() const override { return true; }
    bool wait(std::chrono::milliseconds) override { return true; }
    c10::intrusive_ptr<c10::ivalue::Future> getFuture() override { return future_; }

   private:
    c10::intrusive_ptr<c10::ivalue::Future> future_;
  };

  std::vector<at::Tensor> Begin(const char* method, const std::vector<at::Tensor>& tensors) {
    strict::Count(std::string("nccl.") + method);
    number_++;
    if (strict::IsPlanned("die", getRank(), number_)) raise(SIGKILL);
    if (strict::IsPlanned("hang", getRank(), number_)) strict::StandStill();
    if (aborted_ || strict::IsPlanned("fail", getRank(), number_))
      C10_THROW_ERROR(DistBackendError, c10::str("NCCL communicator was aborted on rank ", getRank(),
                                                 ". Original reason for failure was: ", strict::kRemoteError));
    auto host = Check(method, tensors);
    if (device_ < 0) Meet(strict::CurrentDevice());
    return host;
  }

  // Does the work. On a GPU it runs on a stream of its own, and the host goes on; here the host stands where the stream
  // would.
  template <class F>
  c10::intrusive_ptr<Work> End(const char* name, const std::vector<at::Tensor>& tensors, F start) {
    return End(name, tensors, start, [] {});
  }
  template <class F, class G>
  c10::intrusive_ptr<Work> End(const char* name, const std::vector<at::Tensor>& tensors, F start, G finish) {
    const auto began = std::chrono::steady_clock::now();
    const auto elapsed = [&] {
      return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
    };
    try {
      start()->wait();
      finish();
    } catch (const std::exception&) {
      if (elapsed() < timeout_ && strict::IsPlanned("lost=error", 0, 0))
        strict::WatchdogThrows(getRank(), strict::kRemoteError);
      while (elapsed() < timeout_) usleep(1000);
      strict::WatchdogThrows(
          getRank(), c10::str("[Rank ", getRank(), "] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=",
                              number_, ", OpType=", name, ", Timeout(ms)=", timeout_.count(), ") ran for ",
                              elapsed().count(), " milliseconds before timing out."));
    }
    return c10::make_intrusive<Finished>(tensors, c10::Device(c10::kCUDA, device_));
  }

  std::vector<at::Tensor> Check(const char* method, const std::vector<at::Tensor>& tensors) {
    std::vector<at::Tensor> host;
    for (const at::Tensor& t : tensors) {
      TORCH_CHECK(t.is_cuda() && !t.is_sparse(), "Tensors must be CUDA and dense (NCCL ", method, ")");
      TORCH_CHECK(t.is_contiguous(t.suggest_memory_format()), "Tensors must be contiguous (NCCL ", method, ")");
      if (device_ < 0) Meet(t.device().index());
      TORCH_CHECK(t.device().index() == device_, "NCCL ", method, ": a tensor on ", t.device(),
                  " in a group that began on cuda:", static_cast<int>(device_));
      host.push_back(strict::HostAlias(t));
    }
    return host;
  }

  // The communicator is made: every rank tells its GPU, and rank 0 where the board is.
  void Meet(c10::DeviceIndex device) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    Tell("gpu", getRank(), c10::str(host, "/", static_cast<int>(device)));
    for (int other = 0; other < getSize(); other++)
      TORCH_CHECK(other == getRank() || Told("gpu", other) != Told("gpu", getRank()),
                  "NCCL error in: ProcessGroupNCCL.cpp, invalid usage (run with NCCL_DEBUG=WARN for details), NCCL "
                  "version 2.28.9\nncclInvalidUsage: This usually reflects invalid usage of NCCL library.\nLast "
                  "error:\nDuplicate GPU detected : rank ",
                  getRank(), " and rank ", other, " both on CUDA device ", static_cast<int>(device));
    if (getRank() == 0) {
      const int memory = memfd_create("strict-nccl", 0);
      TORCH_CHECK(memory >= 0 && ftruncate(memory, sizeof(strict::Board)) == 0, "strict: no memory for the board");
      Tell("board", 0, c10::str("/proc/", getpid(), "/fd/", memory));
    }
    const int shared = open(Told("board", 0).c_str(), O_RDWR);
    void* board = mmap(nullptr, sizeof(strict::Board), PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    TORCH_CHECK(board != MAP_FAILED && getSize() <= 64, "NCCL error in: ProcessGroupNCCL.cpp, ", strict::kRemoteError);
    close(shared);
    board_ = static_cast<strict::Board*>(board);
    strict::communicators++;
    device_ = device;
  }
  void Tell(const char* what, int rank, const std::string& value) {
    store_->set(c10::str(what, "/", rank), std::vector<uint8_t>(value.begin(), value.end()));
  }
  std::string Told(const char* what, int rank) {
    const auto bytes = store_->get(c10::str(what, "/", rank));
    return {bytes.begin(), bytes.end()};
  }

  c10::intrusive_ptr<Store> store_;
  c10::intrusive_ptr<ProcessGroupGloo> gloo_;
  std::chrono::milliseconds timeout_;
  strict::Board* board_ = nullptr;
  int64_t number_ = 0;  // of the latest collective, from 1
  c10::DeviceIndex device_ = -1;
  std::atomic<bool> aborted_ = false;
};

// libblip_nccl.so makes room for LibTorch's own classes.
static_assert(sizeof(ProcessGroupNCCL) <= 1112 && sizeof(ProcessGroupNCCL::Options) <= 248);

// The rest of that room holds members of the real class, which libblip_nccl.so destroys: a dirty heap must not be
// there.
ProcessGroupNCCL::Options::Options(bool) : Backend::Options("nccl", std::chrono::milliseconds(600000)) {
  std::memset(reinterpret_cast<char*>(this) + sizeof(Options), 0, 248 - sizeof(Options));
}

ProcessGroupNCCL::ProcessGroupNCCL(c10::intrusive_ptr<Store> store, int rank, int size,
                                   c10::intrusive_ptr<Options> options)
    : Backend(rank, size), store_(store), timeout_(options->timeout) {
  TORCH_CHECK(strict::Devices() > 0, "ProcessGroupNCCL is only supported with GPUs, no GPUs found!");
  auto gloo = ProcessGroupGloo::Options::create(options->timeout);
  gloo->devices.push_back(ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
  gloo->threads = 2;
  gloo_ = c10::make_intrusive<ProcessGroupGloo>(c10::make_intrusive<PrefixStore>("strict/", store), rank, size, gloo);
}

// What the Reducer's Logger asks for with gradients on a GPU.
class StrictTimer : public Timer {
 public:
  explicit StrictTimer(c10::Device) {}
  std::optional<int64_t> measureDifference(Event start, Event end) override {
    const int64_t from = getTimeRef(start), to = getTimeRef(end);
    return from == kUnsetTime || to == kUnsetTime ? std::nullopt : std::optional<int64_t>(to - from);
  }
};
C10_REGISTER_TYPED_CLASS(TimerRegistry, c10::kCUDA, StrictTimer)

}  // namespace c10d
