// Opens shared libraries by path, before anything links against them. The only addon without LibTorch.
#include <dlfcn.h>
#include <napi.h>

// open(path: string, global: boolean): null on success, else the dynamic linker's own message.
static Napi::Value Open(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (info.Length() != 2 || !info[0].IsString() || !info[1].IsBoolean())
    throw Napi::TypeError::New(env, "open: expected a path and whether its symbols are global");
  const std::string path = info[0].As<Napi::String>();
  if (path.find('\0') != std::string::npos) return Napi::String::New(env, "a path has no null character");
  const int visibility = info[1].As<Napi::Boolean>() ? RTLD_GLOBAL : RTLD_LOCAL;
  if (dlopen(path.c_str(), RTLD_NOW | visibility) != nullptr) return env.Null();
  const char* message = dlerror();
  return Napi::String::New(env, message ? message : "unknown dlopen error");
}

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New(env, Open, "open"));
  return exports;
}

NODE_API_MODULE(boot, Init)
