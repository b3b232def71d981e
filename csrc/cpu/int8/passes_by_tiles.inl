// The same for targets with tiles of bytes.
// clang-format off
#include "cpu/vec.inl"
#include "cells/cells.h"
#include "cpu/tile.inl"
#include "cpu/steps.inl"
#include "cpu/int8/bytes.inl"
#include "cpu/int8/dots.inl"
#include "cpu/int8/tiles.inl"
#include "cpu/int8/forward.inl"
// clang-format on
