// How functions are exported: with the kinds of their arguments, checked before the body runs, and every C++ exception
// turned into a JavaScript one.
#pragma once
#include <napi.h>

#include <vector>

enum class Want { kHandle, kNumber, kString, kBoolean, kBytes, kArray, kNumberOrNull };

using Body = Napi::Value (*)(const Napi::CallbackInfo&);
void Export(Napi::Env env, Napi::Object exports, const char* name, Body body, std::vector<Want> wants);

// A Uint8Array argument's memory (over an ArrayBuffer or SharedArrayBuffer).
struct Bytes {
  uint8_t* data;
  size_t size;
};
Bytes BytesOf(const Napi::Value& value);

void InitDispatch(Napi::Env env, Napi::Object exports);  // dispatch.cc
void InitTensor(Napi::Env env, Napi::Object exports);    // tensor.cc
void InitRuntime(Napi::Env env, Napi::Object exports);   // runtime.cc
void InitImage(Napi::Env env, Napi::Object exports);     // image.cc
void InitAugment(Napi::Env env, Napi::Object exports);   // augment.cc
void InitDistributed(Napi::Env env, Napi::Object exports);  // distributed.cc
