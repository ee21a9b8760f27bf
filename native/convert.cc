// The conversions declared in convert.h. What a value must be comes from the operator's schema; nothing is guessed.
#include "convert.h"

#include <ATen/core/jit_type.h>
#include <c10/util/Exception.h>

#include <cmath>

#include "handles.h"

namespace {

std::string Describe(napi_env env, napi_value value) {
  napi_valuetype type;
  napi_typeof(env, value, &type);
  bool is_array = false;
  switch (type) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean: return "a boolean";
    case napi_string: return "a string";
    case napi_symbol: return "a symbol";
    case napi_function: return "a function";
    case napi_bigint: return "a bigint";
    case napi_number: {
      double number;
      napi_get_value_double(env, value, &number);
      if (IsHandle(number)) return IsLive(number) ? "a tensor or other handle" : "a handle that was disposed or never existed";
      return "the number " + std::to_string(number);
    }
    default:
      napi_is_array(env, value, &is_array);
      return is_array ? "an array" : "an object";
  }
}

[[noreturn]] void Mismatch(napi_env env, napi_value value, const ArgSpec& spec, const std::string& where, size_t position) {
  C10_THROW_ERROR(TypeError, where + ": expected " + spec.type + (spec.optional ? " or null" : "") + " for argument " +
                                 std::to_string(position + 1) + " '" + spec.name + "' but received " + Describe(env, value));
}

bool ReadInt(napi_env env, napi_value value, int64_t* out) {
  double number;
  if (ReadNumber(env, value, &number)) {
    if (std::trunc(number) != number || std::fabs(number) >= kHandleBase) return false;
    *out = static_cast<int64_t>(number);
    return true;
  }
  bool lossless = false;
  return napi_get_value_bigint_int64(env, value, out, &lossless) == napi_ok && lossless;
}

bool ReadFloat(napi_env env, napi_value value, double* out) { return ReadNumber(env, value, out) && !IsHandle(*out); }

bool ReadBool(napi_env env, napi_value value, bool* out) { return napi_get_value_bool(env, value, out) == napi_ok; }

bool ReadString(napi_env env, napi_value value, std::string* out) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  out->resize(length + 1);
  napi_get_value_string_utf8(env, value, out->data(), length + 1, &length);
  out->resize(length);
  return true;
}

bool ReadTensor(napi_env env, napi_value value, at::Tensor* out) {
  double handle;
  return ReadNumber(env, value, &handle) && GetTensor(handle, out);
}

bool IsNullish(napi_env env, napi_value value) {
  napi_valuetype type;
  napi_typeof(env, value, &type);
  return type == napi_null || type == napi_undefined;
}

// Calls `read(element)` for each element of an array; false when the value is no array or an element does not fit.
template <class Read>
bool ReadArray(napi_env env, napi_value value, const Read& read) {
  bool is_array = false;
  napi_is_array(env, value, &is_array);
  if (!is_array) return false;
  uint32_t length = 0;
  napi_get_array_length(env, value, &length);
  for (uint32_t i = 0; i < length; i++) {
    napi_value element;
    if (napi_get_element(env, value, i, &element) != napi_ok || !read(element)) return false;
  }
  return true;
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
      if (element->kind() == c10::TypeKind::OptionalType) return Kind::kOptionalTensorList;
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

napi_value Number(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

napi_value Integer(napi_env env, int64_t value) {
  napi_value result;
  if (std::llabs(value) < static_cast<int64_t>(kHandleBase)) return Number(env, static_cast<double>(value));
  napi_create_bigint_int64(env, value, &result);
  return result;
}

napi_value Null(napi_env env) {
  napi_value result;
  napi_get_null(env, &result);
  return result;
}

template <class List, class Convert>
napi_value Array(napi_env env, const List& list, const Convert& convert) {
  napi_value result;
  napi_create_array_with_length(env, list.size(), &result);
  for (size_t i = 0; i < list.size(); i++) napi_set_element(env, result, static_cast<uint32_t>(i), convert(list[i]));
  return result;
}

}  // namespace

bool ReadNumber(napi_env env, napi_value value, double* out) { return napi_get_value_double(env, value, out) == napi_ok; }

std::vector<int64_t> ReadIntList(const Napi::Value& value, const char* what) {
  std::vector<int64_t> list;
  const bool fits = ReadArray(value.Env(), value, [&](napi_value element) {
    int64_t number;
    if (!ReadInt(value.Env(), element, &number)) return false;
    list.push_back(number);
    return true;
  });
  if (!fits) C10_THROW_ERROR(TypeError, std::string("expected an array of integers for ") + what);
  return list;
}

ArgSpec SpecOf(const c10::Argument& argument) {
  ArgSpec spec;
  spec.name = argument.name();
  spec.type = argument.real_type()->annotation_str();
  c10::TypePtr type = argument.type();
  if (type->kind() == c10::TypeKind::OptionalType) {
    spec.optional = true;
    type = type->castRaw<c10::OptionalType>()->getElementType();
  }
  spec.kind = KindOf(type);
  if (argument.N()) spec.fixed_size = *argument.N();
  if (argument.default_value()) {
    spec.has_default = true;
    spec.default_value = *argument.default_value();
  }
  return spec;
}

c10::IValue ToIValue(napi_env env, napi_value value, const ArgSpec& spec, const std::string& where, size_t position) {
  const auto mismatch = [&]() { Mismatch(env, value, spec, where, position); };
  if (spec.kind == Kind::kTensor) {  // first: by far the most frequent
    at::Tensor tensor;
    if (ReadTensor(env, value, &tensor)) return tensor;
  }
  if (IsNullish(env, value)) {
    napi_valuetype type;
    napi_typeof(env, value, &type);
    if (type == napi_undefined && spec.has_default) return spec.default_value;
    if (spec.optional) return c10::IValue();
    mismatch();
  }
  switch (spec.kind) {
    case Kind::kInt: {
      int64_t number;
      if (!ReadInt(env, value, &number)) mismatch();
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
      mismatch();
    }
    case Kind::kString:
    case Kind::kDevice: {
      std::string text;
      if (!ReadString(env, value, &text)) mismatch();
      if (spec.kind == Kind::kDevice) return c10::Device(text);
      return text;
    }
    case Kind::kGenerator: {
      double handle;
      at::Generator generator;
      if (!ReadNumber(env, value, &handle) || !GetGenerator(handle, &generator)) mismatch();
      return generator;
    }
    case Kind::kTensorList: {
      c10::List<at::Tensor> list;
      const bool fits = ReadArray(env, value, [&](napi_value element) {
        at::Tensor tensor;
        if (!ReadTensor(env, element, &tensor)) return false;
        list.push_back(std::move(tensor));
        return true;
      });
      if (!fits) mismatch();
      return list;
    }
    case Kind::kOptionalTensorList: {
      c10::List<std::optional<at::Tensor>> list;
      const bool fits = ReadArray(env, value, [&](napi_value element) {
        if (IsNullish(env, element)) {
          list.push_back(std::optional<at::Tensor>());
          return true;
        }
        at::Tensor tensor;
        if (!ReadTensor(env, element, &tensor)) return false;
        list.push_back(std::optional<at::Tensor>(std::move(tensor)));
        return true;
      });
      if (!fits) mismatch();
      return list;
    }
    case Kind::kIntList: {
      c10::List<int64_t> list;
      int64_t number;
      if (spec.fixed_size > 0 && ReadInt(env, value, &number)) {
        for (int32_t i = 0; i < spec.fixed_size; i++) list.push_back(number);
        return list;
      }
      const bool fits = ReadArray(env, value, [&](napi_value element) {
        if (!ReadInt(env, element, &number)) return false;
        list.push_back(number);
        return true;
      });
      if (!fits) mismatch();
      return list;
    }
    case Kind::kFloatList: {
      c10::List<double> list;
      double number;
      const bool fits = ReadArray(env, value, [&](napi_value element) {
        if (!ReadFloat(env, element, &number)) return false;
        list.push_back(number);
        return true;
      });
      if (!fits) mismatch();
      return list;
    }
    case Kind::kBoolList: {
      c10::List<bool> list;
      bool flag;
      if (spec.fixed_size > 0 && ReadBool(env, value, &flag)) {
        for (int32_t i = 0; i < spec.fixed_size; i++) list.push_back(flag);
        return list;
      }
      const bool fits = ReadArray(env, value, [&](napi_value element) {
        if (!ReadBool(env, element, &flag)) return false;
        list.push_back(flag);
        return true;
      });
      if (!fits) mismatch();
      return list;
    }
    default: mismatch();
  }
  return {};
}

napi_value FromIValue(napi_env env, const c10::IValue& value) {
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    return tensor.defined() ? Number(env, PutHandle(tensor)) : Null(env);
  }
  if (value.isInt()) return Integer(env, value.toInt());
  if (value.isDouble()) return Number(env, value.toDouble());
  if (value.isBool()) {
    napi_value result;
    napi_get_boolean(env, value.toBool(), &result);
    return result;
  }
  if (value.isTensorList()) return Array(env, value.toTensorVector(), [&](const at::Tensor& t) { return FromIValue(env, t); });
  if (value.isIntList()) return Array(env, value.toIntVector(), [&](int64_t n) { return Integer(env, n); });
  if (value.isTuple()) return Array(env, value.toTupleRef().elements().vec(), [&](const c10::IValue& v) { return FromIValue(env, v); });
  if (value.isString()) {
    napi_value result;
    napi_create_string_utf8(env, value.toStringRef().c_str(), value.toStringRef().size(), &result);
    return result;
  }
  if (value.isScalar()) {
    const at::Scalar scalar = value.toScalar();
    return scalar.isIntegral(false) ? Integer(env, scalar.toLong()) : Number(env, scalar.toDouble());
  }
  return Null(env);
}

// Throws a JavaScript error with this message; `type_error` chooses the class, `code` may be null.
static void Throw(napi_env env, bool type_error, const char* code, const std::string& message) {
  if (type_error) napi_throw_type_error(env, code, message.c_str());
  else napi_throw_error(env, code, message.c_str());
}

void ThrowPending(napi_env env, const std::string& where) {
  const auto prefixed = [&](const std::string& text) { return text.rfind(where, 0) == 0 ? text : where + ": " + text; };
  try {
    throw;
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  } catch (const c10::OutOfMemoryError& error) {
    Throw(env, false, "ERR_TORCH_MEMORY", prefixed(error.what_without_backtrace()));
  } catch (const c10::TypeError& error) {
    Throw(env, true, nullptr, prefixed(error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    std::string text = error.what_without_backtrace();
    // "Could not run 'aten::…' with arguments from the 'X' backend." is followed by pages on every backend.
    if (text.find("Could not run") != std::string::npos) text = text.substr(0, text.find("\n\n"));
    const bool memory = text.find("can't allocate memory") != std::string::npos;
    Throw(env, false, memory ? "ERR_TORCH_MEMORY" : nullptr, prefixed(text));
  } catch (const std::bad_alloc&) {
    Throw(env, false, "ERR_TORCH_MEMORY", prefixed("the process could not allocate memory"));
  } catch (const std::exception& error) {
    Throw(env, false, nullptr, prefixed(error.what()));
  } catch (...) {
    Throw(env, false, nullptr, prefixed("an unknown C++ exception"));
  }
}

napi_value Guarded(napi_env env, const std::string& where, const std::function<napi_value()>& body) {
  try {
    return body();
  } catch (...) {
    ThrowPending(env, where);
    return nullptr;
  }
}
