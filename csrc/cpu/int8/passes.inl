// The pass with bytes and all that it is made of, for targets of int8 alone.
// clang-format off
#include "cpu/vec.inl"
#include "cells/cells.h"
#include "cpu/tile.inl"
#include "cpu/steps.inl"
#include "cpu/int8/int8.inl"
// clang-format on
