// The addon's entry: every export on one page of calls, and the door each of them goes through.
#include <malloc.h>

#include "convert.h"
#include "exports.h"
#include "handles.h"

namespace {

struct Exported {
  std::string name;
  Body body;
  std::vector<Want> wants;
};

const char* NameOf(Want want) {
  switch (want) {
    case Want::kHandle: return "a handle";
    case Want::kNumber: return "a number";
    case Want::kString: return "a string";
    case Want::kBoolean: return "a boolean";
    case Want::kBytes: return "a Uint8Array";
    case Want::kArray: return "an array";
    case Want::kNumberOrNull: return "a number or null";
  }
  return "";
}

bool Fits(const Napi::Value& value, Want want) {
  switch (want) {
    case Want::kHandle: return value.IsNumber() && IsHandle(value.As<Napi::Number>());
    case Want::kNumber: return value.IsNumber() && !IsHandle(value.As<Napi::Number>());
    case Want::kString: return value.IsString();
    case Want::kBoolean: return value.IsBoolean();
    case Want::kBytes: return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
    case Want::kArray: return value.IsArray();
    case Want::kNumberOrNull: return value.IsNull() || Fits(value, Want::kNumber);
  }
  return false;
}

Napi::Value Call(const Napi::CallbackInfo& info) {
  const auto* exported = static_cast<const Exported*>(info.Data());
  for (size_t i = 0; i < exported->wants.size(); i++)
    if (!Fits(info[i], exported->wants[i]))
      throw Napi::TypeError::New(info.Env(), exported->name + ": expected " + NameOf(exported->wants[i]) + " for argument " +
                                                 std::to_string(i + 1) + " of " + std::to_string(exported->wants.size()));
  napi_value result = Guarded(info.Env(), exported->name, [&]() -> napi_value { return exported->body(info); });
  return Napi::Value(info.Env(), result);
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
#if defined(__GLIBC__)
  // glibc gives blocks above a threshold back to the system on free; their next use page-faults anew, which costs more
  // than the arithmetic on them. Keep them in the heap, up to a size where the faults no longer matter.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
  InitDispatch(env, exports);
  InitTensor(env, exports);
  InitRuntime(env, exports);
  InitImage(env, exports);
  InitDistributed(env, exports);
  InitAugment(env, exports);
  return exports;
}

}  // namespace

void Export(Napi::Env env, Napi::Object exports, const char* name, Body body, std::vector<Want> wants) {
  auto* exported = new Exported{name, body, std::move(wants)};
  env.AddCleanupHook([](Exported* e) { delete e; }, exported);
  exports.Set(name, Napi::Function::New(env, Call, name, exported));
}

Bytes BytesOf(const Napi::Value& value) {
  const Napi::Uint8Array array = value.As<Napi::Uint8Array>();
  void* data = nullptr;
  size_t length = 0;
  napi_get_typedarray_info(value.Env(), array, nullptr, &length, &data, nullptr, nullptr);
  return {static_cast<uint8_t*>(data), length};
}

NODE_API_MODULE(torch, Init)
