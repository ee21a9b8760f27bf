// Between JavaScript values and LibTorch's: tensor arguments, and the arguments and results of the boxed dispatcher.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>

#include <optional>
#include <string>
#include <vector>

#include "exports.h"

// Argument `index` of a function made by Export, whose parameter is a kHandle.
at::Tensor TensorOf(Info info, size_t index);
// The same of one that is a kArray: tensors by their handles.
std::vector<at::Tensor> TensorsOf(Info info, size_t index);
// The same of one that is a kString: "cpu", "cuda:0".
c10::Device DeviceArgument(Info info, size_t index);

struct ArgSpec;
// Reads one argument of an operator: kFits, kNoArray, or the index of the element that does not fit.
using Reader = int64_t (*)(napi_env env, napi_value value, const ArgSpec& spec, c10::IValue* out);

// What one argument of an operator accepts, read from its schema once.
struct ArgSpec {
  Reader read = nullptr;  // null for a type that the addon does not support
  bool optional = false;
  int32_t fixed_size = 0;  // int[2] accepts a single number as well
  int64_t codes = 0;       // of ScalarType, Layout and the like: kernels index tables with them, and trust them
  std::optional<c10::IValue> default_value;
  std::string name;
  std::string type;  // as the schema writes it
};

ArgSpec SpecOf(const c10::Argument& argument);

// Throws ArgumentError naming `where` and the argument when the value does not fit.
c10::IValue ToIValue(napi_env env, napi_value value, const ArgSpec& spec, const std::string& where);
// Tensors become new handles; undefined ones and None become null.
napi_value FromIValue(napi_env env, c10::IValue value);
