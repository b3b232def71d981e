// The passes and all that they are made of, in order. Included inside a target's region and an anonymous namespace,
// after kName, kVectorBytes, kTileRows, kTileVectors, kPack and what portable.inl, halves.inl, products.inl and
// no_tiles.inl in targets/ declare.
// clang-format off
#include "cpu/vec.inl"
#include "cells/cells.h"
#include "cpu/tile.inl"
#include "cpu/pack.inl"
#include "cpu/dot.inl"
#include "cpu/steps.inl"
#include "cpu/product.inl"
#include "cpu/forward.inl"
#include "cpu/backward.inl"
#include "cpu/pooled.inl"
#include "cpu/narrow/narrow.inl"
// clang-format on
