// Between JavaScript values and LibTorch's: the arguments and results of the boxed dispatcher.
#pragma once
#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>
#include <napi.h>

#include <functional>
#include <string>
#include <vector>

// What one argument of an operator takes, read from its schema once.
enum class Kind { kTensor, kTensorList, kOptionalTensorList, kInt, kFloat, kBool, kScalar, kString, kDevice, kIntList,
                  kFloatList, kBoolList, kGenerator, kUnsupported };

struct ArgSpec {
  Kind kind = Kind::kUnsupported;
  bool optional = false;
  bool has_default = false;
  int32_t fixed_size = 0;  // int[2] takes a single number as well
  c10::IValue default_value;
  std::string name;
  std::string type;
};

ArgSpec SpecOf(const c10::Argument& argument);

// Throws c10::TypeError naming `where` and the argument when the value does not fit.
c10::IValue ToIValue(napi_env env, napi_value value, const ArgSpec& spec, const std::string& where, size_t position);
napi_value FromIValue(napi_env env, const c10::IValue& value);

// A number, as napi makes it; false when the value is none.
bool ReadNumber(napi_env env, napi_value value, double* out);
std::vector<int64_t> ReadIntList(const Napi::Value& value, const char* what);

// Runs `body` and turns every C++ exception into a pending JavaScript one (an exception that left would end Node):
// c10::TypeError and TypeMismatch become TypeError, memory that could not be had gets code ERR_TORCH_MEMORY.
napi_value Guarded(napi_env env, const std::string& where, const std::function<napi_value()>& body);
void ThrowPending(napi_env env, const std::string& where);  // call inside a catch block
