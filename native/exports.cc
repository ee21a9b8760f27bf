// The door declared in exports.h.
#include "exports.h"

namespace {

struct Exported {
  std::string name;
  Body body;
  std::vector<Parameter> parameters;
};

const Exported& ExportedOf(Info info) { return *static_cast<const Exported*>(info.Data()); }

// What a value of that kind is called, where this is none; else null.
const char* Lacking(const Napi::Value& value, ArgKind kind) {
  const auto unless = [](bool fits, const char* name) { return fits ? nullptr : name; };
  int64_t integer;
  switch (kind) {
    case kHandle: return unless(value.IsNumber() && IsHandle(value.As<Napi::Number>()), "a handle");
    case kInteger: return unless(ReadInt(value.Env(), value, &integer), "an integer");
    case kString: return unless(value.IsString(), "a string");
    case kBoolean: return unless(value.IsBoolean(), "a boolean");
    case kBytes:
      return unless(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array,
                    "a Uint8Array");
    case kArray: return unless(value.IsArray(), "an array");
  }
  return nullptr;
}

Napi::Value Call(Info info) {
  const Exported& exported = ExportedOf(info);
  try {
    const size_t count = exported.parameters.size();
    if (info.Length() > count)
      throw ArgumentError("expected at most " + std::to_string(count) + " arguments but received " +
                          std::to_string(info.Length()));
    for (size_t i = 0; i < count; i++) {
      const Parameter& parameter = exported.parameters[i];
      if (parameter.optional && info[i].IsUndefined()) continue;
      if (const char* expected = Lacking(info[i], parameter.kind)) RejectArgument(info, i, expected);
    }
    return exported.body(info);
  } catch (...) {
    ThrowPending(info.Env(), exported.name);
    return Napi::Value();
  }
}

}  // namespace

void ExportBody(Napi::Env env, Napi::Object exports, const char* name, Body body, std::vector<Parameter> parameters) {
  auto* exported = new Exported{name, body, std::move(parameters)};
  env.AddCleanupHook([](Exported* e) { delete e; }, exported);
  exports.Set(name, Napi::Function::New(env, Call, name, exported));
}

void RejectArgument(Info info, size_t index, const std::string& expected, int64_t element) {
  const Exported& exported = ExportedOf(info);
  ThrowMismatch(info.Env(), info[index], exported.name, expected, exported.parameters[index].name, element);
}

void RejectArgument(Info info, size_t index, const std::string& expected, const std::string& received) {
  const Exported& exported = ExportedOf(info);
  ThrowMismatch(exported.name, expected, exported.parameters[index].name, received);
}

bool IsGiven(Info info, size_t index) { return !info[index].IsUndefined(); }

int64_t IntegerOf(Info info, size_t index, int64_t least, int64_t most) {
  int64_t integer = 0;
  if (!ReadInt(info.Env(), info[index], &integer) || integer < least || integer > most)
    RejectArgument(info, index, "an integer from " + std::to_string(least) + " to " + std::to_string(most));
  return integer;
}

bool BooleanOf(Info info, size_t index) { return info[index].As<Napi::Boolean>(); }

std::string StringOf(Info info, size_t index) {
  std::string text;
  ReadString(info.Env(), info[index], &text);
  return text;
}

double HandleOf(Info info, size_t index) { return info[index].As<Napi::Number>(); }

std::vector<int64_t> IntegersOf(Info info, size_t index) {
  std::vector<int64_t> list;
  const int64_t fault = ReadList(info.Env(), info[index], ReadInt, &list);
  if (fault != kFits) RejectArgument(info, index, "an array of integers", fault);
  return list;
}

Bytes BytesOf(Info info, size_t index, std::optional<size_t> size) {
  void* data = nullptr;
  size_t found = 0;
  napi_get_typedarray_info(info.Env(), info[index], nullptr, &found, &data, nullptr, nullptr);
  if (size && found != *size) RejectArgument(info, index, std::to_string(*size) + " bytes", std::to_string(found));
  return {static_cast<uint8_t*>(data), found};
}
