// Stand-in for gloo's header, which LibTorch's packages lack: see ../context.h.
#pragma once

namespace gloo::transport {
class Device;
}  // namespace gloo::transport
