// Several processes: a c10d process group that a Python rank can join too, its collectives, a gather with a gradient,
// and c10d's Reducer, which DistributedDataParallel is made of. All of c10d is in this file: its headers cost more to
// compile than everything else here.
#include <unistd.h>

#include <c10/util/Logging.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/version.h>
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/logger.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <chrono>
#include <map>
#include <mutex>
#include <sstream>

#include "convert.h"
#include "handles.h"
#include "nccl_backend.h"
#include "sockets.h"

namespace {

using std::chrono::milliseconds;

// Our stand-ins for gloo's headers (native/gloo_stubs) fit these versions of LibTorch.
constexpr bool kKnownGloo = TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 9 && TORCH_VERSION_MINOR <= 13;

struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroup> group;
  c10::intrusive_ptr<c10d::Backend> nccl;  // null on the CPU
  bool server;
};

struct DataParallel {
  std::shared_ptr<c10d::Reducer> reducer;
  std::shared_ptr<c10d::Logger> logger;
};

// Groups and reducers by number. Never destroyed: their threads may still be running when the process exits.
template <class T>
class Registry {
 public:
  double Put(T value) {
    std::lock_guard<std::mutex> lock(mutex_);
    values_.emplace(++last_, std::move(value));
    return last_;
  }
  T Get(int64_t id, const char* what) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = values_.find(id);
    TORCH_CHECK(found != values_.end(), "there is no ", what, " with the number ", id, ", or it was destroyed");
    return found->second;
  }
  // Moves the value out, so that it is destroyed outside the lock.
  T Take(int64_t id) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto node = values_.extract(id);
    return node.empty() ? T{} : std::move(node.mapped());
  }

 private:
  std::mutex mutex_;
  std::map<int64_t, T> values_;
  int64_t last_ = 0;
};

auto& groups = *new Registry<std::shared_ptr<Group>>;
auto& models = *new Registry<DataParallel>;

c10::intrusive_ptr<c10d::ProcessGroup> GroupOf(Info info, size_t index) {
  return groups.Get(IntegerOf(info, index), "process group")->group;
}

milliseconds MillisecondsOf(Info info, size_t index) { return milliseconds(IntegerOf(info, index, 0, INT32_MAX)); }

// ---- rendezvous

// The backend for tensors on the CPU. As in Python, GLOO_SOCKET_IFNAME chooses the interfaces. Without it: loopback
// when all ranks are on one machine, else the source address of packets to rank 0. (Python resolves the machine's name,
// which on Debian is a loopback address too, out of reach of other machines.)
c10::intrusive_ptr<c10d::Backend> Gloo(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                       const std::string& host, bool loopback, milliseconds timeout) {
  TORCH_CHECK(kKnownGloo,
              "several processes need an addon built with LibTorch 2.9 to 2.13, but this one was built with ",
              TORCH_VERSION);
  auto options = c10d::ProcessGroupGloo::Options::create(timeout);
  const char* interfaces = std::getenv("GLOO_SOCKET_IFNAME");
  if (interfaces != nullptr && *interfaces != '\0') {
    std::istringstream names(interfaces);
    for (std::string name; std::getline(names, name, ',');)
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(name));
  } else {
    const std::string address = loopback ? "127.0.0.1" : SourceAddressTowards(host);
    options->devices.push_back(address.empty() ? c10d::ProcessGroupGloo::createDefaultDevice()
                                               : c10d::ProcessGroupGloo::createDeviceForHostname(address));
  }
  options->threads = static_cast<int>(options->devices.size()) * 2;
  auto backend = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, options);
  backend->setSequenceNumberForGroup();
  return backend;
}

std::string AnnouncementKey(size_t rank) { return "blip/announced/" + std::to_string(rank); }

// initProcessGroup(host, port, rank, world size, server, prefix, loopback, join timeout ms, timeout ms, announcement to
// the other ranks): the group's number. The store's keys are nested as in torch.distributed, so that ranks of both
// kinds find each other; a `prefix` that is not empty precedes them.
double InitProcessGroup(Info info) {
  const std::string host = StringOf(info, 0);
  const auto size = static_cast<int>(IntegerOf(info, 3, 1, INT32_MAX));
  const auto rank = static_cast<int>(IntegerOf(info, 2, 0, size - 1));
  const bool server = BooleanOf(info, 4);
  const std::string prefix = StringOf(info, 5);
  const bool loopback = BooleanOf(info, 6);
  const milliseconds timeout = MillisecondsOf(info, 8);

  // c10d logs every failed attempt to stderr, with C++ frames; what matters is thrown as well.
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = 3;
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(IntegerOf(info, 1, 0, UINT16_MAX));
  options.isServer = server;
  options.numWorkers = size;
  options.waitWorkers = true;
  options.timeout = MillisecondsOf(info, 7);
  options.multiTenant = server && !loopback;
  if (server && loopback) options.masterListenFd = ListenOn(host, options.port);
  c10::intrusive_ptr<c10d::Store> store = c10::make_intrusive<c10d::TCPStore>(host, options);
  if (!prefix.empty()) store = c10::make_intrusive<c10d::PrefixStore>(prefix, store);
  store = c10::make_intrusive<c10d::PrefixStore>("default_pg", store);
  store = c10::make_intrusive<c10d::PrefixStore>("0/", store);

  const auto group = c10::make_intrusive<c10d::ProcessGroup>(store, rank, size);
  store->set(AnnouncementKey(rank), StringOf(info, 9));
  const auto gloo = Gloo(c10::make_intrusive<c10d::PrefixStore>("cpu/", store), rank, size, host, loopback, timeout);
  group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
  group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, gloo);
  store->setTimeout(timeout);  // NCCL's ranks meet through it at their first collective
  group->setGroupName("0");
  c10d::register_process_group("0", group);
  return groups.Put(std::make_shared<Group>(Group{store, group, nullptr, server}));
}

// announcements(group): what each rank has announced; null of those that have not, being Python's. All that will have,
// have: Gloo has connected every rank with every other since.
std::vector<std::optional<std::string>> Announcements(Info info) {
  const auto group = groups.Get(IntegerOf(info, 0), "process group");
  std::vector<std::optional<std::string>> all(group->group->getSize());
  for (size_t rank = 0; rank < all.size(); rank++)
    if (group->store->check({AnnouncementKey(rank)})) all[rank] = group->store->get_to_str(AnnouncementKey(rank));
  return all;
}

// addNccl(group, timeout ms): the backend for tensors on GPUs.
void AddNccl(Info info) {
  const auto group = groups.Get(IntegerOf(info, 0), "process group");
  const auto store = c10::make_intrusive<c10d::PrefixStore>("cuda/", group->store);
  group->nccl = MakeNccl({store, group->group->getRank(), group->group->getSize(), MillisecondsOf(info, 1)});
  group->group->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::BackendType::NCCL, group->nccl);
}

// Waits until all ranks have finished, at most `patience`: whether they have. A rank that closed its connections while
// another is still reading the last collective's result would break that.
bool AllFinish(const Group& group, milliseconds patience) {
  try {
    if (group.store->add("blip/leaving", 1) == group.group->getSize())
      group.store->set("blip/left", std::vector<uint8_t>{1});
    group.store->wait({"blip/left"}, patience);
    return true;
  } catch (const std::exception&) {
    return false;  // another rank is gone or late: this one's work is complete all the same
  }
}

// The store must outlive its clients: its server waits until they say that they need it no more.
void LeaveStore(const Group& group, milliseconds patience) {
  const auto start = std::chrono::steady_clock::now();
  try {
    if (!group.server) group.store->add("blip/gone", 1);
    while (group.server && group.store->add("blip/gone", 0) < group.group->getSize() - 1 &&
           std::chrono::steady_clock::now() - start < patience)
      usleep(1000);
  } catch (const std::exception&) {
    // As above.
  }
}

// destroyProcessGroup(group, patience ms): waits up to that long for the other ranks to finish too, then closes the
// connections. Doing it twice is harmless.
void DestroyProcessGroup(Info info) {
  constexpr milliseconds kShutdown{10000};
  const auto taken = groups.Take(IntegerOf(info, 0));
  if (!taken) return;
  const milliseconds patience = MillisecondsOf(info, 1);
  const bool together = patience.count() > 0 && AllFinish(*taken, patience);
  // NCCL's own end waits for all ranks, for ever if need be; and its threads ask the store, which must still be there.
  if (taken->nccl) EndNccl(taken->nccl, /*abort=*/!together, std::min(patience, kShutdown));
  if (together) LeaveStore(*taken, patience);
  c10d::unregister_process_group(taken->group->getGroupName());
}

// ---- collectives. On the CPU they block until this rank's part is done, or throw after the group's timeout. On a GPU
// they are queued, as kernels are, and return at once: whoever reads a result waits. After the timeout NCCL's watchdog
// thread ends the process there.

c10d::ReduceOp OpNamed(const std::string& name) {
  if (name == "sum") return c10d::ReduceOp::SUM;
  if (name == "max") return c10d::ReduceOp::MAX;
  TORCH_CHECK(name == "min", "expected sum, max or min for op but received ", name);
  return c10d::ReduceOp::MIN;
}

void SumInPlace(const c10::intrusive_ptr<c10d::ProcessGroup>& group, const at::Tensor& tensor, c10d::ReduceOp op) {
  std::vector<at::Tensor> tensors{tensor};
  c10d::AllreduceOptions options;
  options.reduceOp = std::move(op);
  group->allreduce(tensors, options)->wait();
}

at::Tensor GatherRows(const c10::intrusive_ptr<c10d::ProcessGroup>& group, const at::Tensor& x) {
  TORCH_CHECK(x.dim() > 0, "expected a tensor with rows but received a single number");
  at::NoGradGuard no_grad;
  at::Tensor rows = x.detach().contiguous();
  std::vector<int64_t> sizes = rows.sizes().vec();
  sizes[0] *= group->getSize();
  at::Tensor all = at::empty(sizes, rows.options());
  group->_allgather_base(all, rows)->wait();
  return all;
}

// Rows of all ranks; the gradient of a rank's rows is the sum of all ranks' gradients for them.
class GatherWithGradient : public torch::autograd::Function<GatherWithGradient> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, int64_t id) {
    context->saved_data["group"] = id;
    context->saved_data["rows"] = x.size(0);
    return GatherRows(groups.Get(id, "process group")->group, x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto group = groups.Get(context->saved_data["group"].toInt(), "process group")->group;
    const int64_t rows = context->saved_data["rows"].toInt();
    if (gradients[0].is_cuda()) {  // NCCL need not bring a rank the sums for the others' rows; Gloo would do no less
      at::Tensor all = gradients[0].contiguous();
      at::Tensor own = at::empty_like(all.narrow(0, 0, rows), at::MemoryFormat::Contiguous);
      group->_reduce_scatter_base(own, all)->wait();
      return {own, at::Tensor()};
    }
    const at::Tensor all = gradients[0].clone(at::MemoryFormat::Contiguous);
    SumInPlace(group, all, c10d::ReduceOp::SUM);
    return {all.narrow(0, group->getRank() * rows, rows), at::Tensor()};
  }
};

// allReduce(group, t, "sum" | "max" | "min"): in place. broadcast(group, t, root): in place.
void AllReduce(Info info) { SumInPlace(GroupOf(info, 0), TensorOf(info, 1).detach(), OpNamed(StringOf(info, 2))); }
void Broadcast(Info info) {
  std::vector<at::Tensor> tensors{TensorOf(info, 1).detach()};
  c10d::BroadcastOptions options;
  options.rootRank = IntegerOf(info, 2, 0, INT32_MAX);
  GroupOf(info, 0)->broadcast(tensors, options)->wait();
}
// allGather(group, t (n, …), gradient): (world size · n, …) in rank order; t must have the same shape on all ranks.
double AllGather(Info info) {
  const auto group = GroupOf(info, 0);
  const at::Tensor x = TensorOf(info, 1);
  return PutHandle(BooleanOf(info, 2) ? GatherWithGradient::apply(x, IntegerOf(info, 0)) : GatherRows(group, x));
}

// ---- data parallel training

// The constructor's newest argument is omitted where this LibTorch does not have it yet.
template <class Reducer, class... Arguments>
std::shared_ptr<Reducer> MakeReducer(Arguments... arguments) {
  if constexpr (std::is_constructible_v<Reducer, Arguments..., std::vector<int64_t>>)
    return std::make_shared<Reducer>(std::move(arguments)..., std::vector<int64_t>{});
  else return std::make_shared<Reducer>(std::move(arguments)...);
}

// createReducer(group, parameters, buffers, bucket bytes): checks that all ranks have the same parameters, copies rank
// 0's values (and buffers) to all of them, and hooks into the parameters' gradients. Returns the reducer's number.
double CreateReducer(Info info) {
  const auto group = GroupOf(info, 0);
  const std::vector<at::Tensor> parameters = TensorsOf(info, 1);
  const std::vector<at::Tensor> buffers = TensorsOf(info, 2);
  const int64_t bucket_bytes = IntegerOf(info, 3, 1);
  TORCH_CHECK(!parameters.empty(), "expected at least one parameter");

  c10d::verify_params_across_processes(group, parameters, {});
  std::vector<at::Tensor> shared;
  for (const at::Tensor& tensor : parameters) shared.push_back(tensor.detach());
  for (const at::Tensor& tensor : buffers) shared.push_back(tensor.detach());
  constexpr size_t kBroadcastBytes = size_t{250} << 20;
  {
    at::NoGradGuard no_grad;
    c10d::broadcast_coalesced(group, shared, kBroadcastBytes, 0);
  }

  // A single bucket until the first backward has shown the order in which gradients arrive.
  const std::vector<bool> sparse(parameters.size(), false);
  auto [buckets, limits] =
      c10d::compute_bucket_assignment_by_size(parameters, {std::numeric_limits<int64_t>::max()}, sparse);
  std::reverse(buckets.begin(), buckets.end());
  DataParallel made;
  made.reducer = MakeReducer<c10d::Reducer>(parameters, buckets, group, sparse, bucket_bytes,
                                            /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/true,
                                            std::unordered_map<size_t, std::string>{},
                                            std::min<int64_t>(c10d::kDefaultFirstBucketBytes, bucket_bytes),
                                            /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false);
  made.logger = std::make_shared<c10d::Logger>(made.reducer);
  made.reducer->set_logger(made.logger);
  made.logger->set_construction_data_and_log("DataParallel", {}, -1, /*broadcast_buffers=*/false, /*has_sync_bn=*/false,
                                             /*static_graph=*/false);
  return models.Put(std::move(made));
}
// reducerForward(reducer): before a forward pass whose gradients are averaged over the ranks; reducerBackward: after
// it.
void ReducerForward(Info info) {
  const DataParallel model = models.Get(IntegerOf(info, 0), "reducer");
  model.logger->set_runtime_stats_and_log();
  model.reducer->prepare_for_forward();
  model.reducer->rebuild_buckets();
}
void ReducerBackward(Info info) { models.Get(IntegerOf(info, 0), "reducer").reducer->prepare_for_backward({}); }
void DestroyReducer(Info info) {
  const DataParallel taken = models.Take(IntegerOf(info, 0));
  if (taken.reducer) taken.reducer->remove_autograd_hooks();
}

}  // namespace

void InitDistributed(Napi::Env env, Napi::Object exports) {
  const Parameter group{"group", kInteger}, tensor{"tensor", kHandle}, reducer{"reducer", kInteger};
  // openNccl(path of libblip_nccl.so): null on success, else why it cannot be used. Before a group that has NCCL.
  Export(env, exports, "openNccl", [](Info info) { return OpenNccl(StringOf(info, 0)); }, {{"path", kString}});
  Export(env, exports, "initProcessGroup", InitProcessGroup,
         {{"host", kString},
          {"port", kInteger},
          {"rank", kInteger},
          {"worldSize", kInteger},
          {"server", kBoolean},
          {"prefix", kString},
          {"loopback", kBoolean},
          {"joinTimeoutMs", kInteger},
          {"timeoutMs", kInteger},
          {"announcement", kString}});
  Export(env, exports, "announcements", Announcements, {group});
  Export(env, exports, "addNccl", AddNccl, {group, {"timeoutMs", kInteger}});
  Export(env, exports, "destroyProcessGroup", DestroyProcessGroup, {group, {"patienceMs", kInteger}});
  // What is left of NCCL when the process exits is aborted, and the exit code kept. To be called as late as possible:
  // of what exit() calls, the newest comes first.
  Export(env, exports, "endNcclAtExit", [](Info) { EndNcclAtExit(); }, {});
  Export(env, exports, "allReduce", AllReduce, {group, tensor, {"op", kString}});
  Export(env, exports, "broadcast", Broadcast, {group, tensor, {"root", kInteger}});
  Export(env, exports, "allGather", AllGather, {group, tensor, {"gradient", kBoolean}});
  // Waits for the other processes, not for work queued on GPUs.
  Export(env, exports, "barrier", [](Info info) { GroupOf(info, 0)->getBackend(at::kCPU)->barrier()->wait(); },
         {group});
  Export(env, exports, "createReducer", CreateReducer,
         {group, {"parameters", kArray}, {"buffers", kArray}, {"bucketBytes", kInteger}});
  Export(env, exports, "reducerForward", ReducerForward, {reducer});
  Export(env, exports, "reducerBackward", ReducerBackward, {reducer});
  Export(env, exports, "destroyReducer", DestroyReducer, {reducer});
}
