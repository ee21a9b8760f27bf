// How functions are exported: with the names and kinds of their arguments, which are checked before the body runs, and
// with every C++ exception turned into a JavaScript one.
#pragma once
#include <ATen/core/Tensor.h>
#include <napi.h>

#include <string>
#include <vector>

enum class Want { kHandle, kInteger, kString, kBoolean, kBytes, kArray };

struct Parameter {
  const char* name;
  Want want;
};

using Body = Napi::Value (*)(const Napi::CallbackInfo&);
void Export(Napi::Env env, Napi::Object exports, const char* name, Body body, std::vector<Parameter> parameters);

// Throws the c10::TypeError that names the function, its argument `index` and what was expected there.
// `element`: which one of an array did not fit.
[[noreturn]] void Refuse(const Napi::CallbackInfo& info, size_t index, const std::string& expected,
                         int64_t element = -1);

// Argument `index` of a function made by Export. What the kinds above do not say (a live handle of the right sort, a
// range) is checked here, with the same sentence.
at::Tensor TensorOf(const Napi::CallbackInfo& info, size_t index);
int64_t IntegerOf(const Napi::CallbackInfo& info, size_t index, int64_t least = INT64_MIN, int64_t most = INT64_MAX);
bool BooleanOf(const Napi::CallbackInfo& info, size_t index);
std::string StringOf(const Napi::CallbackInfo& info, size_t index);
double HandleOf(const Napi::CallbackInfo& info, size_t index);
std::vector<int64_t> IntegersOf(const Napi::CallbackInfo& info, size_t index);  // may run JavaScript: getters

// A Uint8Array's memory, of an ArrayBuffer or SharedArrayBuffer; empty when it is detached. Valid until JavaScript
// runs.
struct Bytes {
  uint8_t* data;
  size_t size;
};
Bytes BytesOf(const Napi::CallbackInfo& info, size_t index);

void InitDispatch(Napi::Env env, Napi::Object exports);     // dispatch.cc
void InitTensor(Napi::Env env, Napi::Object exports);       // tensor.cc
void InitLinear(Napi::Env env, Napi::Object exports);       // linear.cc
void InitRuntime(Napi::Env env, Napi::Object exports);      // runtime.cc
void InitImage(Napi::Env env, Napi::Object exports);        // image.cc
void InitAugment(Napi::Env env, Napi::Object exports);      // augment.cc
void InitDistributed(Napi::Env env, Napi::Object exports);  // distributed.cc
