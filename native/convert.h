// Between JavaScript values and LibTorch's: the arguments and results of the boxed dispatcher.
#pragma once
#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>
#include <napi.h>

#include <string>

// What one argument of an operator takes, read from its schema once.
enum class Kind {
  kTensor,
  kTensorList,
  kOptionalTensorList,
  kInt,
  kFloat,
  kBool,
  kScalar,
  kString,
  kDevice,
  kIntList,
  kFloatList,
  kBoolList,
  kGenerator,
  kUnsupported
};

struct ArgSpec {
  Kind kind = Kind::kUnsupported;
  bool optional = false;
  bool has_default = false;
  int32_t fixed_size = 0;     // int[2] takes a single number as well
  int64_t least = INT64_MIN;  // of a kInt: ScalarType, Layout and MemoryFormat are
  int64_t most = INT64_MAX;   // integers to the dispatcher, which trusts them
  c10::IValue default_value;
  std::string name;
  std::string type;  // as the schema writes it
};

ArgSpec SpecOf(const c10::Argument& argument);

// Throws c10::TypeError naming `where` and the argument when the value does not fit.
c10::IValue ToIValue(napi_env env, napi_value value, const ArgSpec& spec, const std::string& where);
// New tensors become handles; undefined ones, and None, null.
napi_value FromIValue(napi_env env, c10::IValue value);
