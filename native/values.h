// Reading JavaScript values through plain napi, what to call them in an error, and errors from C++ to JavaScript.
#pragma once
#include <napi.h>

#include <cstdint>
#include <string>

// Each returns false, and throws nothing, when the value is of another kind.
bool ReadNumber(napi_env env, napi_value value, double* out);
bool ReadFloat(napi_env env, napi_value value, double* out);  // any number but a handle
bool ReadInt(napi_env env, napi_value value, int64_t* out);   // a whole number below 2^52, or a bigint of 64 bits
bool ReadBool(napi_env env, napi_value value, bool* out);
bool ReadString(napi_env env, napi_value value, std::string* out);
bool IsNullish(napi_env env, napi_value value);

constexpr int64_t kFits = -1;
constexpr int64_t kNoArray = -2;

// Calls `read(element)` for each element of an array: kFits, kNoArray, or the index of the first that does not fit.
// Elements may be getters: JavaScript can run, so pointers into buffers must be asked for afterwards.
template <class Read>
int64_t ReadArray(napi_env env, napi_value value, const Read& read) {
  bool is_array = false;
  napi_is_array(env, value, &is_array);
  if (!is_array) return kNoArray;
  uint32_t length = 0;
  napi_get_array_length(env, value, &length);
  for (uint32_t i = 0; i < length; i++) {
    napi_value element;
    if (napi_get_element(env, value, i, &element) != napi_ok || !read(element)) return i;
  }
  return kFits;
}

// Throws c10::TypeError: "<where>: expected <expected> for <name> but received <what value is>", or what the element of
// the array `value` is that did not fit.
[[noreturn]] void Mismatch(napi_env env, napi_value value, const std::string& where, const std::string& expected,
                           const std::string& name, int64_t index = kNoArray);

// Call inside a catch block: makes the C++ exception a pending JavaScript one of one line that begins with `where` (an
// exception that left an entry would end Node). c10::TypeError becomes TypeError, memory that could not be had gets the
// code ERR_TORCH_MEMORY. A JavaScript exception that is already pending stays.
void ThrowPending(napi_env env, const std::string& where);
