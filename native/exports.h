// The door of every addon here. Functions are exported with the names and kinds of their arguments, which are checked
// before the body runs, and every C++ exception becomes a JavaScript one. Knows nothing of LibTorch.
#pragma once
#include <napi.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "values.h"

enum ArgKind { kHandle, kInteger, kString, kBoolean, kBytes, kArray };

struct Parameter {
  const char* name;
  ArgKind kind;
  bool optional = false;  // may be undefined
};

using Info = const Napi::CallbackInfo&;  // the arguments of a call
using Body = std::function<Napi::Value(Info)>;
void ExportBody(Napi::Env env, Napi::Object exports, const char* name, Body body, std::vector<Parameter> parameters);

// What a body returns as JavaScript's value: a number, boolean, string or array; null for std::nullopt.
template <class T>
Napi::Value ToJs(Napi::Env env, const T& value) {
  return Napi::Value::From(env, value);
}
template <class T>
Napi::Value ToJs(Napi::Env env, const std::vector<T>& values);
template <class T>
Napi::Value ToJs(Napi::Env env, const std::optional<T>& value) {
  return value ? ToJs(env, *value) : env.Null();
}
template <class T>
Napi::Value ToJs(Napi::Env env, const std::vector<T>& values) {
  Napi::Array array = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); i++) array.Set(i, ToJs(env, values[i]));
  return array;
}

// A body may also return a Napi::Value, or nothing: undefined.
template <class Function>
void Export(Napi::Env env, Napi::Object exports, const char* name, Function body, std::vector<Parameter> parameters) {
  const auto returning = [body](Info info) {
    if constexpr (std::is_void_v<decltype(body(info))>) return body(info), info.Env().Undefined();
    else return ToJs(info.Env(), body(info));
  };
  ExportBody(env, exports, name, returning, std::move(parameters));
}

// Throws the ArgumentError that names the function, its argument `index`, what was expected there and what was
// received: the argument, its element `element` if it is an array, or the words given.
[[noreturn]] void RejectArgument(Info info, size_t index, const std::string& expected, int64_t element = kNoArray);
[[noreturn]] void RejectArgument(Info info, size_t index, const std::string& expected, const std::string& received);

// Argument `index` of a function made by Export, which has checked its kind. These check the rest, such as a range,
// with the same error.
bool IsGiven(Info info, size_t index);
int64_t IntegerOf(Info info, size_t index, int64_t least = INT64_MIN, int64_t most = INT64_MAX);
bool BooleanOf(Info info, size_t index);
std::string StringOf(Info info, size_t index);
double HandleOf(Info info, size_t index);
std::vector<int64_t> IntegersOf(Info info, size_t index);  // may run JavaScript: getters

// The memory of a Uint8Array over an ArrayBuffer or SharedArrayBuffer; empty when it is detached. Valid until
// JavaScript runs. With `size`, exactly so many bytes.
struct Bytes {
  uint8_t* data;
  size_t size;
};
Bytes BytesOf(Info info, size_t index, std::optional<size_t> size = {});

// A part of boot.node; src/libtorch/boot.ts has both.
void InitLastWords(Napi::Env env, Napi::Object exports);

// Parts of torch.node, in the order of addon.cc and src/torch/native-exports.ts.
void InitDispatch(Napi::Env env, Napi::Object exports);
void InitLinear(Napi::Env env, Napi::Object exports);
void InitAttention(Napi::Env env, Napi::Object exports);
void InitTensor(Napi::Env env, Napi::Object exports);
void InitRuntime(Napi::Env env, Napi::Object exports);
void InitProcess(Napi::Env env, Napi::Object exports);
void InitDistributed(Napi::Env env, Napi::Object exports);

// Parts of image.node, in the order of image/addon.cc and src/data/images/image-addon.ts.
void InitResize(Napi::Env env, Napi::Object exports);
void InitAugment(Napi::Env env, Napi::Object exports);
