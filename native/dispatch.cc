// One door to every ATen operator: look a schema up once, then call it boxed with converted arguments.
#include <ATen/core/dispatch/Dispatcher.h>

#include <deque>
#include <mutex>

#include "convert.h"
#include "exports.h"

namespace {

struct Operator {
  c10::OperatorHandle handle;
  std::string name;
  std::vector<ArgSpec> arguments;
  // Results that alias a written argument (add_, out=) are not handed back: the caller already has that tensor.
  std::vector<bool> returned;
};

constexpr size_t kMaxArguments = 24;

// Shared by all threads; entries are never removed, so a reference stays valid.
std::mutex operators_mutex;
std::deque<Operator>& Operators() {
  static auto* operators = new std::deque<Operator>;
  return *operators;
}

// resolve("aten::add", "Tensor") -> { id, arguments: string[], returns: string[] }; throws when there is no such operator.
Napi::Value Resolve(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string name = info[0].As<Napi::String>();
  const std::string overload = info[1].As<Napi::String>();
  const auto found = c10::Dispatcher::singleton().findSchema({name, overload});
  const std::string full = overload.empty() ? name : name + "." + overload;
  TORCH_CHECK(found.has_value(), "LibTorch has no operator ", full);
  Operator op{*found, full, {}, {}};
  Napi::Array arguments = Napi::Array::New(env);
  Napi::Array returns = Napi::Array::New(env);
  for (const c10::Argument& argument : found->schema().arguments()) {
    op.arguments.push_back(SpecOf(argument));
    arguments.Set(arguments.Length(), argument.name());
  }
  TORCH_CHECK(op.arguments.size() <= kMaxArguments, full, " takes more than ", kMaxArguments, " arguments");
  for (const c10::Argument& result : found->schema().returns()) {
    const bool aliases = result.alias_info() != nullptr && result.alias_info()->isWrite();
    op.returned.push_back(!aliases);
    returns.Set(returns.Length(), aliases ? std::string("written") : result.type()->annotation_str());
  }
  std::lock_guard<std::mutex> lock(operators_mutex);
  Operators().push_back(std::move(op));
  Napi::Object result = Napi::Object::New(env);
  result.Set("id", static_cast<double>(Operators().size() - 1));
  result.Set("arguments", arguments);
  result.Set("returns", returns);
  return result;
}

// invoke(id, ...arguments): the result, an array of results, or null. Plain napi: this is the hot path.
napi_value Invoke(napi_env env, napi_callback_info info) {
  size_t count = kMaxArguments + 1;
  napi_value arguments[kMaxArguments + 1];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  double id = -1;
  const Operator* op = nullptr;
  if (count >= 1 && ReadNumber(env, arguments[0], &id)) {
    std::lock_guard<std::mutex> lock(operators_mutex);
    if (id >= 0 && id < static_cast<double>(Operators().size())) op = &Operators()[static_cast<size_t>(id)];
  }
  if (op == nullptr) {
    napi_throw_type_error(env, nullptr, "Expected the id of a resolved operator for invoke");
    return nullptr;
  }
  try {
    if (count - 1 > op->arguments.size())
      C10_THROW_ERROR(TypeError, op->name + ": expected at most " + std::to_string(op->arguments.size()) + " arguments but received " +
                                     std::to_string(count - 1));
    torch::jit::Stack stack;
    stack.reserve(op->arguments.size());
    for (size_t i = 0; i < op->arguments.size(); i++) {
      const ArgSpec& spec = op->arguments[i];
      if (i + 1 < count) stack.push_back(ToIValue(env, arguments[i + 1], spec, op->name, i));
      else if (spec.has_default) stack.push_back(spec.default_value);
      else if (spec.optional) stack.emplace_back();
      else C10_THROW_ERROR(TypeError, op->name + ": argument " + std::to_string(i + 1) + " '" + spec.name + "' is missing");
    }
    op->handle.callBoxed(&stack);
    napi_value results[kMaxArguments];
    size_t returned = 0;
    for (size_t i = 0; i < stack.size() && i < op->returned.size(); i++)
      if (op->returned[i]) results[returned++] = FromIValue(env, stack[i]);
    if (returned == 1) return results[0];
    napi_value array = nullptr;
    if (returned == 0) {
      napi_get_null(env, &array);
      return array;
    }
    napi_create_array_with_length(env, returned, &array);
    for (size_t i = 0; i < returned; i++) napi_set_element(env, array, static_cast<uint32_t>(i), results[i]);
    return array;
  } catch (...) {
    ThrowPending(env, op->name);
    return nullptr;
  }
}

}  // namespace

void InitDispatch(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "resolve", Resolve, {Want::kString, Want::kString});
  napi_value invoke;
  napi_create_function(env, "invoke", NAPI_AUTO_LENGTH, Invoke, nullptr, &invoke);
  exports.Set("invoke", Napi::Value(env, invoke));
}
