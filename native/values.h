// Reading JavaScript values through plain napi, describing them in an error, and turning C++ exceptions into JavaScript
// ones. Knows nothing of LibTorch: every addon is built with it.
#pragma once
#include <napi.h>

#include <cstdint>
#include <stdexcept>
#include <string>

// Tensors and the like are JavaScript numbers of [2^52, 2^53), see handles.h: no other number may be in that window.
constexpr double kHandleBase = 4503599627370496.0;   // 2^52
constexpr double kHandleLimit = 9007199254740992.0;  // 2^53
inline bool IsHandle(double value) { return value >= kHandleBase && value < kHandleLimit; }

// Each returns false, and throws nothing, when the value is of another kind.
bool ReadNumber(napi_env env, napi_value value, double* out);
bool ReadFloat(napi_env env, napi_value value, double* out);  // any number but a handle
bool ReadInt(napi_env env, napi_value value, int64_t* out);   // an integer below 2^52, or a bigint of 64 bits
bool ReadBool(napi_env env, napi_value value, bool* out);
bool ReadString(napi_env env, napi_value value, std::string* out);
bool IsNullish(napi_env env, napi_value value);

constexpr int64_t kFits = -1;
constexpr int64_t kNoArray = -2;

// Calls `read(element)` for each element of an array: kFits, kNoArray, or the index of the first that does not fit.
// Elements may be getters, which run JavaScript: ask for pointers into buffers afterwards.
template <class Read>
int64_t ReadArray(napi_env env, napi_value value, const Read& read) {
  uint32_t length = 0;
  if (napi_get_array_length(env, value, &length) != napi_ok) return kNoArray;
  for (uint32_t i = 0; i < length; i++) {
    napi_value element;
    if (napi_get_element(env, value, i, &element) != napi_ok || !read(element)) return i;
  }
  return kFits;
}

// The same with `read(env, element, &one)`, which is one of the functions above; appends what it has read to the list.
template <class Read, class List>
int64_t ReadList(napi_env env, napi_value value, const Read& read, List* list) {
  return ReadArray(env, value, [&](napi_value element) {
    typename List::value_type one{};
    if (!read(env, element, &one)) return false;
    list->push_back(std::move(one));
    return true;
  });
}

// An argument that a function cannot take: becomes a JavaScript TypeError.
struct ArgumentError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws ArgumentError: "<where>: expected <expected> for <name> but received <received>". Received is `value`, or the
// element `index` of the array `value`.
[[noreturn]] void ThrowMismatch(const std::string& where, const std::string& expected, const std::string& name,
                                const std::string& received);
[[noreturn]] void ThrowMismatch(napi_env env, napi_value value, const std::string& where, const std::string& expected,
                                const std::string& name, int64_t index = kNoArray);

// Call inside a catch block: makes the C++ exception a pending JavaScript one, in one line that starts with `where` (an
// exception that left an entry point would end Node). ArgumentError becomes TypeError, a failed allocation has the code
// ERR_TORCH_MEMORY. A JavaScript exception that is already pending stays.
void ThrowPending(napi_env env, const std::string& where);

// ---- What torch.node adds (libtorch_errors.cc, handles.cc); no_libtorch.cc stands in for it in the other addons.

constexpr const char* kMemoryCode = "ERR_TORCH_MEMORY";

struct JsError {
  bool type_error = false;
  const char* code = nullptr;
  std::string text;
};
// Whether the exception is one of LibTorch's.
bool DescribeLibtorchError(const std::exception& error, JsError* out);
// What an error calls the handle: "a tensor", "a handle that was disposed or never existed" …
std::string DescribeHandle(double handle);
