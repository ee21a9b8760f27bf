// The functions declared in values.h.
#include "values.h"

#include <cmath>
#include <new>
#include <sstream>

namespace {

std::string Describe(napi_env env, napi_value value) {
  napi_valuetype type;
  napi_typeof(env, value, &type);
  bool is_array = false;
  switch (type) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean: return "a boolean";
    case napi_symbol: return "a symbol";
    case napi_function: return "a function";
    case napi_bigint: return "a bigint";
    case napi_string: {
      std::string text;
      ReadString(env, value, &text);
      return text.size() <= 60 ? "the string '" + text + "'" : "a string";
    }
    case napi_number: {
      double number;
      napi_get_value_double(env, value, &number);
      if (IsHandle(number)) return DescribeHandle(number);
      std::ostringstream text;
      text << "the number " << number;
      return text.str();
    }
    default: napi_is_array(env, value, &is_array); return is_array ? "an array" : "an object";
  }
}

std::string OneLine(const std::string& text) {
  std::istringstream words(text);
  std::string line;
  for (std::string word; words >> word;) line += line.empty() ? word : ' ' + word;
  return line;
}

// Nothing here may fail loudly: in a worker that is being terminated every call into JavaScript is refused.
void Throw(napi_env env, const std::string& where, const JsError& thrown) {
  const std::string line = OneLine(thrown.text);
  const std::string message = line.rfind(where + ": ", 0) == 0 ? line : where + ": " + line;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) != napi_ok || pending) return;
  napi_value text, code = nullptr, error;
  if (napi_create_string_utf8(env, message.data(), message.size(), &text) != napi_ok) return;
  if (thrown.code != nullptr) napi_create_string_utf8(env, thrown.code, NAPI_AUTO_LENGTH, &code);
  const auto create = thrown.type_error ? napi_create_type_error : napi_create_error;
  if (create(env, code, text, &error) == napi_ok) napi_throw(env, error);
}

}  // namespace

bool ReadNumber(napi_env env, napi_value value, double* out) {
  return napi_get_value_double(env, value, out) == napi_ok;
}

bool ReadFloat(napi_env env, napi_value value, double* out) { return ReadNumber(env, value, out) && !IsHandle(*out); }

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

bool ReadBool(napi_env env, napi_value value, bool* out) { return napi_get_value_bool(env, value, out) == napi_ok; }

bool ReadString(napi_env env, napi_value value, std::string* out) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  out->resize(length + 1);
  napi_get_value_string_utf8(env, value, out->data(), length + 1, &length);
  out->resize(length);
  return true;
}

bool IsNullish(napi_env env, napi_value value) {
  napi_valuetype type;
  napi_typeof(env, value, &type);
  return type == napi_null || type == napi_undefined;
}

void ThrowMismatch(const std::string& where, const std::string& expected, const std::string& name,
                   const std::string& received) {
  throw ArgumentError(where + ": expected " + expected + " for " + name + " but received " + received);
}

void ThrowMismatch(napi_env env, napi_value value, const std::string& where, const std::string& expected,
                   const std::string& name, int64_t index) {
  napi_value element;
  if (index < 0 || napi_get_element(env, value, static_cast<uint32_t>(index), &element) != napi_ok)
    ThrowMismatch(where, expected, name, Describe(env, value));
  ThrowMismatch(where, expected, name, Describe(env, element) + " at index " + std::to_string(index));
}

void ThrowPending(napi_env env, const std::string& where) {
  try {
    throw;
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  } catch (const ArgumentError& error) {
    Throw(env, where, {true, nullptr, error.what()});
  } catch (const std::bad_alloc&) {
    Throw(env, where, {false, kMemoryCode, "the process could not allocate memory"});
  } catch (const std::exception& error) {
    JsError thrown{false, nullptr, error.what()};
    DescribeLibtorchError(error, &thrown);
    Throw(env, where, thrown);
  } catch (...) {
    Throw(env, where, {false, nullptr, "an unknown C++ exception"});
  }
}
