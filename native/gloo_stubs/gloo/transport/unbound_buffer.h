// Stand-in for gloo's header, which LibTorch's packages lack: see ../context.h.
#pragma once
#include <gloo/context.h>
