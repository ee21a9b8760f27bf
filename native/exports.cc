// The door declared in exports.h.
#include "exports.h"

namespace {

struct Exported {
  std::string name;
  Body body;
  std::vector<Parameter> parameters;
};

const Exported& ExportedOf(const Napi::CallbackInfo& info) { return *static_cast<const Exported*>(info.Data()); }

const char* NameOf(ArgKind kind) {
  switch (kind) {
    case kHandle: return "a handle";
    case kInteger: return "an integer";
    case kString: return "a string";
    case kBoolean: return "a boolean";
    case kBytes: return "a Uint8Array";
    case kArray: return "an array";
  }
  return "";
}

bool Fits(const Napi::Value& value, ArgKind kind) {
  int64_t integer;
  switch (kind) {
    case kHandle: return value.IsNumber() && IsHandle(value.As<Napi::Number>());
    case kInteger: return ReadInt(value.Env(), value, &integer);
    case kString: return value.IsString();
    case kBoolean: return value.IsBoolean();
    case kBytes: return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
    case kArray: return value.IsArray();
  }
  return false;
}

Napi::Value Call(const Napi::CallbackInfo& info) {
  const Exported& exported = ExportedOf(info);
  try {
    const size_t count = exported.parameters.size();
    if (info.Length() > count)
      throw ArgumentError("expected at most " + std::to_string(count) + " arguments but received " +
                          std::to_string(info.Length()));
    for (size_t i = 0; i < count; i++) {
      const Parameter& parameter = exported.parameters[i];
      if (parameter.optional && info[i].IsUndefined()) continue;
      if (!Fits(info[i], parameter.kind)) RejectArgument(info, i, NameOf(parameter.kind));
    }
    return exported.body(info);
  } catch (...) {
    ThrowPending(info.Env(), exported.name);
    return Napi::Value();
  }
}

}  // namespace

void Export(Napi::Env env, Napi::Object exports, const char* name, Body body, std::vector<Parameter> parameters) {
  auto* exported = new Exported{name, body, std::move(parameters)};
  env.AddCleanupHook([](Exported* e) { delete e; }, exported);
  exports.Set(name, Napi::Function::New(env, Call, name, exported));
}

void Export(Napi::Env env, Napi::Object exports, const char* name, void (*body)(const Napi::CallbackInfo&),
            std::vector<Parameter> parameters) {
  const auto returning = [body](const Napi::CallbackInfo& info) { return body(info), info.Env().Undefined(); };
  Export(env, exports, name, Body(returning), std::move(parameters));
}

void RejectArgument(const Napi::CallbackInfo& info, size_t index, const std::string& expected, int64_t element) {
  const Exported& exported = ExportedOf(info);
  ThrowMismatch(info.Env(), info[index], exported.name, expected, exported.parameters[index].name, element);
}

void RejectArgument(const Napi::CallbackInfo& info, size_t index, const std::string& expected,
                    const std::string& received) {
  const Exported& exported = ExportedOf(info);
  ThrowMismatch(exported.name, expected, exported.parameters[index].name, received);
}

bool IsGiven(const Napi::CallbackInfo& info, size_t index) { return !info[index].IsUndefined(); }

int64_t IntegerOf(const Napi::CallbackInfo& info, size_t index, int64_t least, int64_t most) {
  int64_t integer = 0;
  if (!ReadInt(info.Env(), info[index], &integer) || integer < least || integer > most)
    RejectArgument(info, index, "an integer from " + std::to_string(least) + " to " + std::to_string(most));
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
  const int64_t fault = ReadList(info.Env(), info[index], ReadInt, &list);
  if (fault != kFits) RejectArgument(info, index, "an array of integers", fault);
  return list;
}

bool ReadBytes(napi_env env, napi_value value, Bytes* out) {
  napi_typedarray_type type;
  void* data = nullptr;
  size_t length = 0;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) return false;
  *out = {static_cast<uint8_t*>(data), length};
  return type == napi_uint8_array;
}

Bytes BytesOf(const Napi::CallbackInfo& info, size_t index) {
  Bytes bytes{nullptr, 0};
  ReadBytes(info.Env(), info[index], &bytes);
  return bytes;
}
