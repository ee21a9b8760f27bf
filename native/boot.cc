// The entry of boot.node, which needs no LibTorch: opens its shared libraries by path before torch.node is loaded, and
// has what the process says at a signal.
#include <dlfcn.h>

#include "exports.h"

// open(path, global): null on success, else the dynamic linker's own message.
static std::optional<std::string> Open(Info info) {
  const std::string path = StringOf(info, 0);
  if (path.find('\0') != std::string::npos) RejectArgument(info, 0, "a path without a null character");
  const int visibility = BooleanOf(info, 1) ? RTLD_GLOBAL : RTLD_LOCAL;
  if (dlopen(path.c_str(), RTLD_NOW | visibility) != nullptr) return std::nullopt;
  const char* message = dlerror();
  return message ? message : "unknown dlopen error";
}

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "open", Open, {{"path", kString}, {"global", kBoolean}});
  InitLastWords(env, exports);
  return exports;
}

NODE_API_MODULE(boot, Init)
