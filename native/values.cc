// The functions declared in values.h.
#include "values.h"

#include <c10/util/Exception.h>

#include <cmath>
#include <sstream>

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

// The first sentence or so of LibTorch's message, as one line.
std::string OneLine(std::string text) {
  // "Could not run 'aten::…' with arguments from the 'X' backend." is followed by pages on every backend there is.
  if (text.find("Could not run") != std::string::npos) text = text.substr(0, text.find(" This could be because"));
  const size_t allocator = text.find("DefaultCPUAllocator: ");  // after the place in LibTorch's source
  if (allocator != std::string::npos) text = text.substr(allocator);
  std::string line;
  for (const char c : text) {
    const bool space = c == '\n' || c == '\r' || c == '\t' || c == ' ';
    if (!space) line += c;
    else if (!line.empty() && line.back() != ' ') line += ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

enum class Class { kError, kTypeError };

// Nothing here may fail loudly: in a worker that is being terminated every call into JavaScript is refused.
void Throw(napi_env env, Class error_class, const char* code, const std::string& where, const std::string& text) {
  const std::string line = OneLine(text);
  const std::string message = line.rfind(where + ": ", 0) == 0 ? line : where + ": " + line;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) != napi_ok || pending) return;
  napi_value text_value, code_value = nullptr, error;
  if (napi_create_string_utf8(env, message.data(), message.size(), &text_value) != napi_ok) return;
  if (code != nullptr) napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &code_value);
  const auto create = error_class == Class::kTypeError ? napi_create_type_error : napi_create_error;
  if (create(env, code_value, text_value, &error) == napi_ok) napi_throw(env, error);
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

void Mismatch(napi_env env, napi_value value, const std::string& where, const std::string& expected,
              const std::string& name, int64_t index) {
  std::string received;
  napi_value element;
  if (index >= 0 && napi_get_element(env, value, static_cast<uint32_t>(index), &element) == napi_ok)
    received = Describe(env, element) + " at index " + std::to_string(index);
  else received = Describe(env, value);
  C10_THROW_ERROR(TypeError, where + ": expected " + expected + " for " + name + " but received " + received);
}

void ThrowPending(napi_env env, const std::string& where) {
  try {
    throw;
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  } catch (const c10::OutOfMemoryError& error) {
    Throw(env, Class::kError, "ERR_TORCH_MEMORY", where, error.what_without_backtrace());
  } catch (const c10::TypeError& error) {
    Throw(env, Class::kTypeError, nullptr, where, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    const bool memory = text.find("can't allocate memory") != std::string::npos;
    Throw(env, Class::kError, memory ? "ERR_TORCH_MEMORY" : nullptr, where, text);
  } catch (const std::bad_alloc&) {
    Throw(env, Class::kError, "ERR_TORCH_MEMORY", where, "the process could not allocate memory");
  } catch (const std::exception& error) {
    Throw(env, Class::kError, nullptr, where, error.what());
  } catch (...) {
    Throw(env, Class::kError, nullptr, where, "an unknown C++ exception");
  }
}
