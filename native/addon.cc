// The addon's entry, and the door that each exported function goes through.
#include <c10/util/Exception.h>
#include <malloc.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "exports.h"
#include "handles.h"
#include "values.h"

namespace {

struct Exported {
  std::string name;
  Body body;
  std::vector<Parameter> parameters;
};

const Exported& ExportedOf(const Napi::CallbackInfo& info) { return *static_cast<const Exported*>(info.Data()); }

const char* NameOf(Want want) {
  switch (want) {
    case Want::kHandle: return "a handle";
    case Want::kInteger: return "an integer";
    case Want::kString: return "a string";
    case Want::kBoolean: return "a boolean";
    case Want::kBytes: return "a Uint8Array";
    case Want::kArray: return "an array";
  }
  return "";
}

bool Fits(const Napi::Value& value, Want want) {
  int64_t integer;
  switch (want) {
    case Want::kHandle: return value.IsNumber() && IsHandle(value.As<Napi::Number>());
    case Want::kInteger: return ReadInt(value.Env(), value, &integer);
    case Want::kString: return value.IsString();
    case Want::kBoolean: return value.IsBoolean();
    case Want::kBytes: return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
    case Want::kArray: return value.IsArray();
  }
  return false;
}

Napi::Value Call(const Napi::CallbackInfo& info) {
  const Exported& exported = ExportedOf(info);
  try {
    const size_t count = exported.parameters.size();
    if (info.Length() > count)
      C10_THROW_ERROR(TypeError, exported.name + ": expected at most " + std::to_string(count) +
                                     " arguments but received " + std::to_string(info.Length()));
    for (size_t i = 0; i < count; i++)
      if (!Fits(info[i], exported.parameters[i].want)) Refuse(info, i, NameOf(exported.parameters[i].want));
    return exported.body(info);
  } catch (...) {
    ThrowPending(info.Env(), exported.name);
    return Napi::Value();
  }
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
#if defined(__GLIBC__)
  // glibc gives blocks above a threshold back to the system on free; their next use page-faults anew, which costs more
  // than the arithmetic on them. Keep them in the heap, up to a size where the faults no longer matter (an older glibc
  // refuses more than 32 MiB).
  if (mallopt(M_MMAP_THRESHOLD, 1 << 30) == 0) mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
  // A worker. The process's first thread has its number; glibc 2.28 has no gettid().
  if (syscall(SYS_gettid) != getpid()) {
    BeginThread();
    env.AddCleanupHook(EndThread);
  }
  InitDispatch(env, exports);
  InitTensor(env, exports);
  InitLinear(env, exports);
  InitRuntime(env, exports);
  InitImage(env, exports);
  InitDistributed(env, exports);
  InitAugment(env, exports);
  return exports;
}

}  // namespace

void Export(Napi::Env env, Napi::Object exports, const char* name, Body body, std::vector<Parameter> parameters) {
  auto* exported = new Exported{name, body, std::move(parameters)};
  env.AddCleanupHook([](Exported* e) { delete e; }, exported);
  exports.Set(name, Napi::Function::New(env, Call, name, exported));
}

void Refuse(const Napi::CallbackInfo& info, size_t index, const std::string& expected, int64_t element) {
  const Exported& exported = ExportedOf(info);
  Mismatch(info.Env(), info[index], exported.name, expected, exported.parameters[index].name, element);
}

at::Tensor TensorOf(const Napi::CallbackInfo& info, size_t index) {
  at::Tensor tensor;
  if (!GetTensor(info[index].As<Napi::Number>(), &tensor)) Refuse(info, index, "a tensor");
  return tensor;
}

int64_t IntegerOf(const Napi::CallbackInfo& info, size_t index, int64_t least, int64_t most) {
  int64_t integer = 0;
  if (!ReadInt(info.Env(), info[index], &integer) || integer < least || integer > most)
    Refuse(info, index, "an integer from " + std::to_string(least) + " to " + std::to_string(most));
  return integer;
}

bool BooleanOf(const Napi::CallbackInfo& info, size_t index) { return info[index].As<Napi::Boolean>(); }

std::string StringOf(const Napi::CallbackInfo& info, size_t index) {
  std::string text;
  ReadString(info.Env(), info[index], &text);
  return text;
}

double HandleOf(const Napi::CallbackInfo& info, size_t index) { return info[index].As<Napi::Number>(); }

std::vector<int64_t> IntegersOf(const Napi::CallbackInfo& info, size_t index) {
  std::vector<int64_t> list;
  const int64_t fault = ReadArray(info.Env(), info[index], [&](napi_value element) {
    int64_t number;
    if (!ReadInt(info.Env(), element, &number)) return false;
    list.push_back(number);
    return true;
  });
  if (fault != kFits) Refuse(info, index, "an array of integers", fault);
  return list;
}

Bytes BytesOf(const Napi::CallbackInfo& info, size_t index) {
  void* data = nullptr;
  size_t length = 0;
  napi_get_typedarray_info(info.Env(), info[index], nullptr, &length, &data, nullptr, nullptr);
  return {static_cast<uint8_t*>(data), length};
}

NODE_API_MODULE(torch, Init)
