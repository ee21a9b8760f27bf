// The conversions declared in convert.h. The operator's schema says what a value must be; nothing is guessed.
#include "convert.h"

#include <ATen/core/jit_type.h>
#include <c10/core/Device.h>

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

bool ReadDevice(napi_env env, napi_value value, std::optional<c10::Device>* out) {
  std::string text;
  if (!ReadString(env, value, &text)) return false;
  try {
    out->emplace(text);
    return true;
  } catch (const c10::Error&) {
    return false;
  }
}

napi_value Number(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}

napi_value Integer(napi_env env, int64_t value) {
  constexpr auto kLimit = static_cast<int64_t>(kHandleBase);
  if (value > -kLimit && value < kLimit) return Number(env, static_cast<double>(value));
  napi_value result = nullptr;
  napi_create_bigint_int64(env, value, &result);
  return result;
}

napi_value Boolean(napi_env env, bool value) {
  napi_value result = nullptr;
  napi_get_boolean(env, value, &result);
  return result;
}

napi_value Null(napi_env env) {
  napi_value result = nullptr;
  napi_get_null(env, &result);
  return result;
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
  const int64_t fault = ReadArray(info.Env(), info[index], [&](napi_value element) {
    double handle;
    at::Tensor tensor;
    if (!ReadNumber(info.Env(), element, &handle) || !GetTensor(handle, &tensor)) return false;
    tensors.push_back(std::move(tensor));
    return true;
  });
  if (fault != kFits) RejectArgument(info, index, "an array of tensors", fault);
  return tensors;
}

c10::Device DeviceArgument(const Napi::CallbackInfo& info, size_t index) {
  try {
    return c10::Device(StringOf(info, index));
  } catch (const c10::Error&) {
    RejectArgument(info, index, "a device such as 'cpu' or 'cuda:0'");
  }
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
  switch (spec.kind) {
    case Kind::kTensor: break;
    case Kind::kInt: {
      int64_t number;
      if (!ReadInt(env, value, &number) || number < spec.least || number > spec.most) mismatch();
      return number;
    }
    case Kind::kFloat: {
      double number;
      if (!ReadFloat(env, value, &number)) mismatch();
      return number;
    }
    case Kind::kBool: {
      bool flag;
      if (!ReadBool(env, value, &flag)) mismatch();
      return flag;
    }
    case Kind::kScalar: {
      int64_t integer;
      double number;
      bool flag;
      if (ReadInt(env, value, &integer)) return at::Scalar(integer);
      if (ReadFloat(env, value, &number)) return at::Scalar(number);
      if (ReadBool(env, value, &flag)) return at::Scalar(flag);
      break;
    }
    case Kind::kString: {
      std::string text;
      if (!ReadString(env, value, &text)) mismatch();
      return text;
    }
    case Kind::kDevice: {
      std::optional<c10::Device> device;
      if (!ReadDevice(env, value, &device)) mismatch();
      return *device;
    }
    case Kind::kGenerator: {
      double handle;
      at::Generator generator;
      if (!ReadNumber(env, value, &handle) || !GetGenerator(handle, &generator)) mismatch();
      return generator;
    }
    case Kind::kTensorList: {
      c10::List<at::Tensor> list;
      const int64_t fault = ReadArray(env, value, [&](napi_value element) {
        at::Tensor tensor;
        if (!ReadTensor(env, element, &tensor)) return false;
        list.push_back(std::move(tensor));
        return true;
      });
      if (fault != kFits) mismatch(fault);
      return list;
    }
    case Kind::kOptionalTensorList: {
      c10::List<std::optional<at::Tensor>> list;
      const int64_t fault = ReadArray(env, value, [&](napi_value element) {
        if (IsNullish(env, element)) {
          list.push_back(std::optional<at::Tensor>());
          return true;
        }
        at::Tensor tensor;
        if (!ReadTensor(env, element, &tensor)) return false;
        list.push_back(std::optional<at::Tensor>(std::move(tensor)));
        return true;
      });
      if (fault != kFits) mismatch(fault);
      return list;
    }
    case Kind::kIntList: {
      c10::List<int64_t> list;
      int64_t number;
      if (spec.fixed_size > 0 && ReadInt(env, value, &number)) {
        for (int32_t i = 0; i < spec.fixed_size; i++) list.push_back(number);
        return list;
      }
      const int64_t fault = ReadArray(env, value, [&](napi_value element) {
        if (!ReadInt(env, element, &number)) return false;
        list.push_back(number);
        return true;
      });
      if (fault != kFits) mismatch(fault);
      return list;
    }
    case Kind::kFloatList: {
      c10::List<double> list;
      double number;
      const int64_t fault = ReadArray(env, value, [&](napi_value element) {
        if (!ReadFloat(env, element, &number)) return false;
        list.push_back(number);
        return true;
      });
      if (fault != kFits) mismatch(fault);
      return list;
    }
    case Kind::kBoolList: {
      c10::List<bool> list;
      bool flag;
      if (spec.fixed_size > 0 && ReadBool(env, value, &flag)) {
        for (int32_t i = 0; i < spec.fixed_size; i++) list.push_back(flag);
        return list;
      }
      const int64_t fault = ReadArray(env, value, [&](napi_value element) {
        if (!ReadBool(env, element, &flag)) return false;
        list.push_back(flag);
        return true;
      });
      if (fault != kFits) mismatch(fault);
      return list;
    }
    case Kind::kUnsupported:
      throw ArgumentError(where + ": " + spec.name + " is of type " + spec.type + ", which the addon does not support");
  }
  mismatch();
  return {};
}

napi_value FromIValue(napi_env env, c10::IValue value) {
  if (value.isTensor()) {
    at::Tensor tensor = std::move(value).toTensor();
    return tensor.defined() ? Number(env, PutHandle(std::move(tensor))) : Null(env);
  }
  if (value.isNone()) return Null(env);
  if (value.isInt()) return Integer(env, value.toInt());
  if (value.isDouble()) return Number(env, value.toDouble());
  if (value.isBool()) return Boolean(env, value.toBool());
  if (value.isList()) return Array(env, value.toListRef());
  if (value.isTuple()) return Array(env, value.toTupleRef().elements());
  if (value.isString()) {
    napi_value result = nullptr;
    napi_create_string_utf8(env, value.toStringRef().data(), value.toStringRef().size(), &result);
    return result;
  }
  throw ArgumentError("results of type " + value.tagKind() + " are not supported by the addon");
}
