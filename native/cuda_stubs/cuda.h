// Stand-in for the header of CUDA: see cuda_runtime_api.h here.
#pragma once
#include "cuda_runtime_api.h"
