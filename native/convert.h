// Between JavaScript values and LibTorch's: tensor arguments, and the arguments and results of the boxed dispatcher.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>

#include <string>
#include <vector>

#include "exports.h"

// Argument `index` of a function made by Export, whose parameter is a kHandle.
at::Tensor TensorOf(const Napi::CallbackInfo& info, size_t index);
// The same of one that is a kArray: tensors by their handles.
std::vector<at::Tensor> TensorsOf(const Napi::CallbackInfo& info, size_t index);
// The same of one that is a kString: "cpu", "cuda:0".
c10::Device DeviceArgument(const Napi::CallbackInfo& info, size_t index);

// What one argument of an operator accepts, read from its schema once.
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
  int32_t fixed_size = 0;     // int[2] accepts a single number as well
  int64_t least = INT64_MIN;  // limits of a kInt: ScalarType, Layout and MemoryFormat
  int64_t most = INT64_MAX;   // are integers to the dispatcher, which trusts them
  c10::IValue default_value;
  std::string name;
  std::string type;  // as the schema writes it
};

ArgSpec SpecOf(const c10::Argument& argument);

// Throws ArgumentError naming `where` and the argument when the value does not fit.
c10::IValue ToIValue(napi_env env, napi_value value, const ArgSpec& spec, const std::string& where);
// Tensors become new handles; undefined ones and None become null.
napi_value FromIValue(napi_env env, c10::IValue value);
