// One door to every ATen operator: look up its schema once, then call it boxed with converted arguments.
#include <ATen/core/dispatch/Dispatcher.h>

#include <array>
#include <atomic>
#include <map>
#include <mutex>

#include "convert.h"

namespace {

struct Operator {
  c10::OperatorHandle handle;
  std::string name;
  std::vector<ArgSpec> arguments;
  // Results that alias a written argument (add_, out=) are not returned: the caller already has that tensor.
  std::vector<bool> returned;
};

constexpr size_t kMaxArguments = 24;
constexpr size_t kMaxOperators = 4096;  // ATen has about 3,400

// Shared by all threads. An entry is published once and never changed or freed, so invoke reads without a lock.
std::array<std::atomic<const Operator*>, kMaxOperators> operators;
std::mutex resolve_mutex;
auto& resolved = *new std::map<std::string, size_t>;  // ids by full name, under the mutex

const Operator* MakeOperator(const std::string& name, const std::string& overload, const std::string& full) {
  const auto found = c10::Dispatcher::singleton().findSchema({name, overload});
  TORCH_CHECK(found.has_value(), "LibTorch has no operator ", full);
  const c10::FunctionSchema& schema = found->schema();
  TORCH_CHECK(schema.arguments().size() <= kMaxArguments && schema.returns().size() <= kMaxArguments, full,
              " takes or returns more than ", kMaxArguments, " values");
  auto op = std::make_unique<Operator>(Operator{*found, full, {}, {}});
  for (const c10::Argument& argument : schema.arguments()) op->arguments.push_back(SpecOf(argument));
  for (const c10::Argument& result : schema.returns())
    op->returned.push_back(result.alias_info() == nullptr || !result.alias_info()->isWrite());
  return op.release();
}

size_t IdOf(const std::string& name, const std::string& overload) {
  const std::string full = overload.empty() ? name : name + "." + overload;
  std::lock_guard<std::mutex> lock(resolve_mutex);
  const auto known = resolved.find(full);
  if (known != resolved.end()) return known->second;
  const size_t id = resolved.size();
  TORCH_CHECK(id < kMaxOperators, "more than ", kMaxOperators, " operators are in use");
  operators[id].store(MakeOperator(name, overload, full), std::memory_order_release);
  resolved.emplace(full, id);
  return id;
}

// resolve("aten::add", "Tensor"): { id, arguments: names, returns: types of the results that are returned }.
// Throws when there is no such operator. An operator has the same id in every thread.
Napi::Object Resolve(Info info) {
  const size_t id = IdOf(StringOf(info, 0), StringOf(info, 1));
  const Operator& op = *operators[id].load(std::memory_order_acquire);
  std::vector<std::string> arguments, returns;
  for (const ArgSpec& spec : op.arguments) arguments.push_back(spec.name);
  const auto& results = op.handle.schema().returns();
  for (size_t i = 0; i < results.size(); i++)
    if (op.returned[i]) returns.push_back(results[i].type()->str());
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("id", static_cast<double>(id));
  result.Set("arguments", ToJs(info.Env(), arguments));
  result.Set("returns", ToJs(info.Env(), returns));
  return result;
}

const Operator* Find(napi_env env, napi_value value) {
  double id;
  if (!ReadNumber(env, value, &id) || !(id >= 0 && id < kMaxOperators)) return nullptr;
  const auto index = static_cast<size_t>(id);
  return static_cast<double>(index) == id ? operators[index].load(std::memory_order_acquire) : nullptr;
}

// invoke(operator, ...arguments): the result, an array of results, or null. Plain napi: this is the hot path.
napi_value Invoke(napi_env env, napi_callback_info info) {
  size_t count = kMaxArguments + 1;
  napi_value values[kMaxArguments + 1];  // missing ones are undefined; `count` becomes the number given
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  const Operator* op = Find(env, values[0]);
  try {
    if (op == nullptr) ThrowMismatch(env, values[0], "invoke", "the id of a resolved operator", "operator");
    const size_t size = op->arguments.size();
    if (count > size + 1)
      throw ArgumentError("expected at most " + std::to_string(size) + " arguments but received " +
                          std::to_string(count - 1));
    torch::jit::Stack stack;
    stack.reserve(std::max(size, op->returned.size()));
    for (size_t i = 0; i < size; i++) stack.push_back(ToIValue(env, values[i + 1], op->arguments[i], op->name));
    op->handle.callBoxed(&stack);
    napi_value results[kMaxArguments];
    size_t returned = 0;
    for (size_t i = 0; i < op->returned.size(); i++)
      if (op->returned[i]) results[returned++] = FromIValue(env, std::move(stack[i]));
    if (returned == 0) return Napi::Env(env).Null();
    if (returned == 1) return results[0];
    napi_value array = nullptr;
    napi_create_array_with_length(env, returned, &array);
    for (size_t i = 0; i < returned; i++) napi_set_element(env, array, static_cast<uint32_t>(i), results[i]);
    return array;
  } catch (...) {
    ThrowPending(env, op == nullptr ? "invoke" : op->name);
    return nullptr;
  }
}

}  // namespace

void InitDispatch(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "resolve", Resolve, {{"name", kString}, {"overload", kString}});
  napi_value invoke;
  napi_create_function(env, "invoke", NAPI_AUTO_LENGTH, Invoke, nullptr, &invoke);
  exports.Set("invoke", Napi::Value(env, invoke));
}
