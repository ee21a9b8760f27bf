// What the addons without LibTorch have in place of its errors and handles.
#include "values.h"

bool DescribeLibtorchError(const std::exception&, JsError*) { return false; }
std::string DescribeHandle(double) { return "a handle"; }
