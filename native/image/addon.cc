// The entry of image.node: arithmetic on pixels, without LibTorch. No function keeps state, so any thread may call it.
#include "../exports.h"
#include "../heap.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  KeepFreedMemory();
  InitResize(env, exports);
  InitAugment(env, exports);
  return exports;
}

NODE_API_MODULE(image, Init)
