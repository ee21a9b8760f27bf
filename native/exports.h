// The door of every addon here. Functions are exported with the names and kinds of their arguments, which are checked
// before the body runs, and every C++ exception becomes a JavaScript one. Knows nothing of LibTorch.
#pragma once
#include <napi.h>

#include <functional>
#include <string>
#include <vector>

#include "values.h"

enum ArgKind { kHandle, kInteger, kString, kBoolean, kBytes, kArray };

struct Parameter {
  const char* name;
  ArgKind kind;
  bool optional = false;  // may be undefined
};

using Body = std::function<Napi::Value(const Napi::CallbackInfo&)>;
void Export(Napi::Env env, Napi::Object exports, const char* name, Body body, std::vector<Parameter> parameters);
// The same of one that returns nothing: undefined.
void Export(Napi::Env env, Napi::Object exports, const char* name, void (*body)(const Napi::CallbackInfo&),
            std::vector<Parameter> parameters);

// Throws the ArgumentError that names the function, its argument `index`, what was expected there and what was
// received: the argument, its element `element` if it is an array, or the words given.
[[noreturn]] void RejectArgument(const Napi::CallbackInfo& info, size_t index, const std::string& expected,
                                 int64_t element = kNoArray);
[[noreturn]] void RejectArgument(const Napi::CallbackInfo& info, size_t index, const std::string& expected,
                                 const std::string& received);

// Argument `index` of a function made by Export, which has checked its kind. These check the rest, such as a range,
// with the same error.
bool IsGiven(const Napi::CallbackInfo& info, size_t index);
int64_t IntegerOf(const Napi::CallbackInfo& info, size_t index, int64_t least = INT64_MIN, int64_t most = INT64_MAX);
bool BooleanOf(const Napi::CallbackInfo& info, size_t index);
std::string StringOf(const Napi::CallbackInfo& info, size_t index);
double HandleOf(const Napi::CallbackInfo& info, size_t index);
std::vector<int64_t> IntegersOf(const Napi::CallbackInfo& info, size_t index);  // may run JavaScript: getters

// The memory of a Uint8Array over an ArrayBuffer or SharedArrayBuffer; empty when it is detached. Valid until
// JavaScript runs.
struct Bytes {
  uint8_t* data;
  size_t size;
};
Bytes BytesOf(const Napi::CallbackInfo& info, size_t index);
bool ReadBytes(napi_env env, napi_value value, Bytes* out);  // false when it is no Uint8Array

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
