// The int8 kernels of the target amx, and those of amx_emulated, which stand in files of their own.
#pragma once

#include "cpu/layer.h"

namespace rnnfast::cpu {

const Kernels<float>* amx_int8(const char* cell);
const Kernels<float>* amx_int8_emulated(const char* cell);

}  // namespace rnnfast::cpu
