// The conversions declared in convert.h. The operator's schema says what a value must be; nothing is guessed.
#include "convert.h"

#include <ATen/core/jit_type.h>
#include <c10/core/Device.h>

#include <cmath>

#include "handles.h"

namespace {

bool ReadTensor(napi_env env, napi_value value, at::Tensor* out) {
  double handle;
  return ReadNumber(env, value, &handle) && GetTensor(handle, out);
}

Kind KindOf(const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::TensorType: return Kind::kTensor;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType: return Kind::kInt;
    case c10::TypeKind::FloatType: return Kind::kFloat;
    case c10::TypeKind::BoolType: return Kind::kBool;
    case c10::TypeKind::NumberType: return Kind::kScalar;
    case c10::TypeKind::StringType: return Kind::kString;
    case c10::TypeKind::DeviceObjType: return Kind::kDevice;
    case c10::TypeKind::GeneratorType: return Kind::kGenerator;
    case c10::TypeKind::ListType: {
      const c10::TypePtr element = type->castRaw<c10::ListType>()->getElementType();
      if (element->kind() == c10::TypeKind::OptionalType) {
        const c10::TypePtr inner = element->castRaw<c10::OptionalType>()->getElementType();
        return inner->kind() == c10::TypeKind::TensorType ? Kind::kOptionalTensorList : Kind::kUnsupported;
      }
      switch (KindOf(element)) {
        case Kind::kTensor: return Kind::kTensorList;
        case Kind::kInt: return Kind::kIntList;
        case Kind::kFloat: return Kind::kFloatList;
        case Kind::kBool: return Kind::kBoolList;
        default: return Kind::kUnsupported;
      }
    }
    default: return Kind::kUnsupported;
  }
}

// The dispatcher and the kernels index tables with these codes.
void LimitCodes(c10::TypePtr type, ArgSpec* spec) {
  if (type->kind() == c10::TypeKind::OptionalType) type = type->castRaw<c10::OptionalType>()->getElementType();
  const auto limit = [spec](auto count) {
    spec->least = 0;
    spec->most = static_cast<int64_t>(count) - 1;
  };
  if (type->kind() == c10::TypeKind::ScalarTypeType) limit(c10::ScalarType::NumOptions);
  if (type->kind() == c10::TypeKind::LayoutType) limit(c10::Layout::NumOptions);
  if (type->kind() == c10::TypeKind::MemoryFormatType) limit(c10::MemoryFormat::NumOptions);
  if (type->kind() == c10::TypeKind::QSchemeType) limit(c10::QScheme::COMPILE_TIME_NUM_QSCHEMES);
}

// As the functions of values.h: false, and nothing thrown, when the value is of another kind.
bool ReadOptionalTensor(napi_env env, napi_value value, std::optional<at::Tensor>* out) {
  return IsNullish(env, value) || ReadTensor(env, value, &out->emplace());
}

bool ReadGenerator(napi_env env, napi_value value, at::Generator* out) {
  double handle;
  return ReadNumber(env, value, &handle) && GetGenerator(handle, out);
}

bool ReadDevice(napi_env env, napi_value value, c10::Device* out) {
  std::string text;
  if (!ReadString(env, value, &text)) return false;
  try {
    *out = c10::Device(text);
    return true;
  } catch (const c10::Error&) {
    return false;
  }
}

bool ReadScalar(napi_env env, napi_value value, at::Scalar* out) {
  int64_t integer;
  double number;
  bool flag;
  if (ReadInt(env, value, &integer)) *out = integer;
  else if (ReadFloat(env, value, &number)) *out = number;
  else if (ReadBool(env, value, &flag)) *out = flag;
  else return false;
  return true;
}

template <class List>
napi_value Array(napi_env env, const List& list) {
  napi_value result = nullptr;
  napi_create_array_with_length(env, list.size(), &result);
  uint32_t i = 0;
  for (const c10::IValue& element : list) napi_set_element(env, result, i++, FromIValue(env, element));
  return result;
}

}  // namespace

at::Tensor TensorOf(const Napi::CallbackInfo& info, size_t index) {
  at::Tensor tensor;
  if (!GetTensor(info[index].As<Napi::Number>(), &tensor)) RejectArgument(info, index, "a tensor");
  return tensor;
}

std::vector<at::Tensor> TensorsOf(const Napi::CallbackInfo& info, size_t index) {
  std::vector<at::Tensor> tensors;
  const int64_t fault = ReadList(info.Env(), info[index], ReadTensor, &tensors);
  if (fault != kFits) RejectArgument(info, index, "an array of tensors", fault);
  return tensors;
}

c10::Device DeviceArgument(const Napi::CallbackInfo& info, size_t index) {
  c10::Device device(c10::kCPU);
  if (!ReadDevice(info.Env(), info[index], &device)) RejectArgument(info, index, "a device such as 'cpu' or 'cuda:0'");
  return device;
}

ArgSpec SpecOf(const c10::Argument& argument) {
  ArgSpec spec;
  spec.name = argument.name();
  c10::TypePtr type = argument.type();
  if (type->kind() == c10::TypeKind::OptionalType) {
    spec.optional = true;
    type = type->castRaw<c10::OptionalType>()->getElementType();
  }
  spec.kind = KindOf(type);
  spec.type = argument.real_type()->str();
  if (spec.type.rfind("SymInt", 0) == 0) spec.type.replace(0, 6, "int");
  if (spec.optional && !spec.type.empty() && spec.type.back() == '?')
    spec.type.replace(spec.type.size() - 1, 1, " or null");
  LimitCodes(argument.real_type(), &spec);
  if (argument.N()) spec.fixed_size = *argument.N();
  if (argument.default_value()) {
    spec.has_default = true;
    spec.default_value = *argument.default_value();
  }
  return spec;
}

c10::IValue ToIValue(napi_env env, napi_value value, const ArgSpec& spec, const std::string& where) {
  const auto mismatch = [&](int64_t element = kNoArray) {
    ThrowMismatch(env, value, where, spec.type, spec.name, element);
  };
  if (spec.kind == Kind::kTensor) {  // first: by far the most frequent
    at::Tensor tensor;
    if (ReadTensor(env, value, &tensor)) return c10::IValue(std::move(tensor));
  }
  if (IsNullish(env, value)) {
    napi_valuetype type;
    napi_typeof(env, value, &type);
    if (type == napi_undefined && spec.has_default) return spec.default_value;
    if (spec.optional) return c10::IValue();
    mismatch();
  }
  const auto one = [&](auto result, const auto& read) -> c10::IValue {
    if (!read(env, value, &result)) mismatch();
    return result;
  };
  const auto list = [&](auto element, const auto& read) -> c10::IValue {
    c10::List<decltype(element)> result;
    if (spec.fixed_size > 0 && read(env, value, &element)) {
      for (int32_t i = 0; i < spec.fixed_size; i++) result.push_back(element);
      return result;
    }
    const int64_t fault = ReadList(env, value, read, &result);
    if (fault != kFits) mismatch(fault);
    return result;
  };
  const auto read_limited = [&](napi_env, napi_value, int64_t* out) {
    return ReadInt(env, value, out) && *out >= spec.least && *out <= spec.most;
  };
  switch (spec.kind) {
    case Kind::kTensor: return one(at::Tensor(), ReadTensor);
    case Kind::kInt: return one(int64_t{}, read_limited);
    case Kind::kFloat: return one(double{}, ReadFloat);
    case Kind::kBool: return one(bool{}, ReadBool);
    case Kind::kScalar: return one(at::Scalar(), ReadScalar);
    case Kind::kString: return one(std::string(), ReadString);
    case Kind::kDevice: return one(c10::Device(c10::kCPU), ReadDevice);
    case Kind::kGenerator: return one(at::Generator(), ReadGenerator);
    case Kind::kTensorList: return list(at::Tensor(), ReadTensor);
    case Kind::kOptionalTensorList: return list(std::optional<at::Tensor>(), ReadOptionalTensor);
    case Kind::kIntList: return list(int64_t{}, ReadInt);
    case Kind::kFloatList: return list(double{}, ReadFloat);
    case Kind::kBoolList: return list(bool{}, ReadBool);
    case Kind::kUnsupported: break;
  }
  throw ArgumentError(where + ": " + spec.name + " is of type " + spec.type + ", which the addon does not support");
}

napi_value FromIValue(napi_env env, c10::IValue value) {
  if (value.isTensor()) {
    at::Tensor tensor = std::move(value).toTensor();
    if (tensor.defined()) return Napi::Number::New(env, PutHandle(std::move(tensor)));
    value = c10::IValue();
  }
  if (value.isNone()) return Napi::Env(env).Null();
  if (value.isInt()) {
    const int64_t integer = value.toInt();
    const auto number = static_cast<double>(integer);
    if (std::fabs(number) < kHandleBase) return Napi::Number::New(env, number);
    return Napi::BigInt::New(env, integer);
  }
  if (value.isDouble()) return Napi::Number::New(env, value.toDouble());
  if (value.isBool()) return Napi::Boolean::New(env, value.toBool());
  if (value.isString()) return Napi::String::New(env, value.toStringRef());
  if (value.isList()) return Array(env, value.toListRef());
  if (value.isTuple()) return Array(env, value.toTupleRef().elements());
  throw ArgumentError("results of type " + value.tagKind() + " are not supported by the addon");
}
