// The conversions declared in convert.h. The operator's schema says what a value must be; nothing is guessed.
#include "convert.h"

#include <ATen/core/jit_type.h>
#include <c10/core/Device.h>

#include <cmath>

#include "handles.h"

namespace {

// As the functions of values.h: false, and nothing thrown, when the value is of another kind.
template <class T>
bool ReadHeld(napi_env env, napi_value value, T* out) {
  double handle;
  return ReadNumber(env, value, &handle) && GetHeld(handle, out);
}

bool ReadOptionalTensor(napi_env env, napi_value value, std::optional<at::Tensor>* out) {
  return IsNullish(env, value) || ReadHeld(env, value, &out->emplace());
}

bool ReadDevice(napi_env env, napi_value value, std::optional<c10::Device>* out) {
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

// What an ArgSpec reads with: values of one type, integers that may be codes, and lists.
template <class T, bool (*Read)(napi_env, napi_value, T*)>
int64_t One(napi_env env, napi_value value, const ArgSpec&, c10::IValue* out) {
  T one{};
  if (!Read(env, value, &one)) return kNoArray;
  *out = std::move(one);
  return kFits;
}

int64_t OneInt(napi_env env, napi_value value, const ArgSpec& spec, c10::IValue* out) {
  int64_t integer;
  if (!ReadInt(env, value, &integer)) return kNoArray;
  if (spec.codes > 0 && (integer < 0 || integer >= spec.codes)) return kNoArray;
  *out = integer;
  return kFits;
}

template <class T, bool (*Read)(napi_env, napi_value, T*)>
int64_t List(napi_env env, napi_value value, const ArgSpec& spec, c10::IValue* out) {
  c10::List<T> list;
  T one{};
  int64_t fault = kFits;
  if (spec.fixed_size > 0 && Read(env, value, &one))
    for (int32_t i = 0; i < spec.fixed_size; i++) list.push_back(one);
  else fault = ReadList(env, value, Read, &list);
  *out = std::move(list);
  return fault;
}

// Null for a type that the addon does not support.
Reader ReaderOf(const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::TensorType: return One<at::Tensor, ReadHeld>;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType: return OneInt;
    case c10::TypeKind::FloatType: return One<double, ReadFloat>;
    case c10::TypeKind::BoolType: return One<bool, ReadBool>;
    case c10::TypeKind::NumberType: return One<at::Scalar, ReadScalar>;
    case c10::TypeKind::StringType: return One<std::string, ReadString>;
    case c10::TypeKind::DeviceObjType: return One<std::optional<c10::Device>, ReadDevice>;
    case c10::TypeKind::GeneratorType: return One<at::Generator, ReadHeld>;
    case c10::TypeKind::ListType: break;
    default: return nullptr;
  }
  const c10::TypePtr element = type->castRaw<c10::ListType>()->getElementType();
  switch (element->kind()) {
    case c10::TypeKind::TensorType: return List<at::Tensor, ReadHeld>;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType: return List<int64_t, ReadInt>;
    case c10::TypeKind::FloatType: return List<double, ReadFloat>;
    case c10::TypeKind::BoolType: return List<bool, ReadBool>;
    case c10::TypeKind::OptionalType: break;
    default: return nullptr;
  }
  const bool tensors = element->castRaw<c10::OptionalType>()->getElementType()->kind() == c10::TypeKind::TensorType;
  return tensors ? List<std::optional<at::Tensor>, ReadOptionalTensor> : nullptr;
}

// How many codes there are of a type that is a plain integer to the dispatcher; 0 for any other type.
int64_t CodesOf(const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::OptionalType: return CodesOf(type->castRaw<c10::OptionalType>()->getElementType());
    case c10::TypeKind::ScalarTypeType: return static_cast<int64_t>(c10::ScalarType::NumOptions);
    case c10::TypeKind::LayoutType: return static_cast<int64_t>(c10::Layout::NumOptions);
    case c10::TypeKind::MemoryFormatType: return static_cast<int64_t>(c10::MemoryFormat::NumOptions);
    case c10::TypeKind::QSchemeType: return static_cast<int64_t>(c10::QScheme::COMPILE_TIME_NUM_QSCHEMES);
    default: return 0;
  }
}

template <class Elements>
napi_value Array(napi_env env, const Elements& list) {
  napi_value result = nullptr;
  napi_create_array_with_length(env, list.size(), &result);
  uint32_t i = 0;
  for (const c10::IValue& element : list) napi_set_element(env, result, i++, FromIValue(env, element));
  return result;
}

}  // namespace

at::Tensor TensorOf(Info info, size_t index) {
  at::Tensor tensor;
  if (!GetHeld(HandleOf(info, index), &tensor)) RejectArgument(info, index, "a tensor");
  return tensor;
}

std::vector<at::Tensor> TensorsOf(Info info, size_t index) {
  std::vector<at::Tensor> tensors;
  const int64_t fault = ReadList(info.Env(), info[index], ReadHeld<at::Tensor>, &tensors);
  if (fault != kFits) RejectArgument(info, index, "an array of tensors", fault);
  return tensors;
}

c10::Device DeviceArgument(Info info, size_t index) {
  std::optional<c10::Device> device;
  if (!ReadDevice(info.Env(), info[index], &device)) RejectArgument(info, index, "a device such as 'cpu' or 'cuda:0'");
  return *device;
}

ArgSpec SpecOf(const c10::Argument& argument) {
  ArgSpec spec;
  spec.name = argument.name();
  c10::TypePtr type = argument.type();
  if (type->kind() == c10::TypeKind::OptionalType) {
    spec.optional = true;
    type = type->castRaw<c10::OptionalType>()->getElementType();
  }
  spec.read = ReaderOf(type);
  spec.type = argument.real_type()->str();
  if (spec.type.rfind("SymInt", 0) == 0) spec.type.replace(0, 6, "int");
  if (spec.optional && !spec.type.empty() && spec.type.back() == '?')
    spec.type.replace(spec.type.size() - 1, 1, " or null");
  spec.codes = CodesOf(argument.real_type());
  if (argument.N()) spec.fixed_size = *argument.N();
  spec.default_value = argument.default_value();
  return spec;
}

c10::IValue ToIValue(napi_env env, napi_value value, const ArgSpec& spec, const std::string& where) {
  c10::IValue result;
  const int64_t fault = spec.read == nullptr ? kNoArray : spec.read(env, value, spec, &result);
  if (fault == kFits) return result;
  napi_valuetype type;
  napi_typeof(env, value, &type);
  const bool nullish = type == napi_null || type == napi_undefined;  // which no reader takes
  if (type == napi_undefined && spec.default_value) return *spec.default_value;
  if (nullish && spec.optional) return c10::IValue();
  if (!nullish && spec.read == nullptr)
    throw ArgumentError(where + ": " + spec.name + " is of type " + spec.type + ", which the addon does not support");
  ThrowMismatch(env, value, where, spec.type, spec.name, fault);
}

napi_value FromIValue(napi_env env, c10::IValue value) {
  if (value.isTensor() && value.toTensor().defined())
    return Napi::Number::New(env, PutHandle(std::move(value).toTensor()));
  if (value.isTensor() || value.isNone()) return Napi::Env(env).Null();
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
