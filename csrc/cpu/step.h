// A layer for inference, called without torch's dispatcher, which takes longer than a time step of one row. Its weights
// may have been packed before. No torch here.
//
// Letters: T time steps, N batch rows, S states that are kept, I input size, H hidden size, P width of the hidden
// state, G gates of the cell.
#pragma once

#include <cstdint>

namespace rnnfast::cpu {

template <typename Real>
struct StepWeights {
  int64_t cell;    // its number
  bool quantized;  // packed ones are those of int8/layout.h
  int64_t I, H, P;
  const Real* packed;  // as pack_step makes them; null: those behind this one are read where they stand
  const Real* w_ih;    // [G*H, I]
  const Real* w_hh;    // [G*H, P]
  const Real* w_hr;    // [P, H], null without a projection
  const Real* b_ih;    // [G*H], null without bias
  const Real* b_hh;    // [G*H], null without bias
};

/// One time step.
template <typename Real>
struct StepRows {
  int64_t N;
  const Real* x;  // [N, I], rows x_stride numbers apart
  int64_t x_stride;
  const Real* h;         // [N, P]; with slots [S, P]
  const Real* c;         // [N, H] or [S, H], null for cells without a cell state
  Real* h_out;           // [N, P], other memory than h
  Real* c_out;           // [N, H]; with slots c itself; null for cells without a cell state
  Real* reserve;         // [N, saved*H], what the backward pass needs beside h_out; null where it is not kept
  const int64_t* slots;  // [N], of each row the place of its states, which are updated there; null: there are none
};

/// Any number of time steps. Strides are in numbers.
template <typename Real>
struct LayerRows {
  int64_t T, N;
  const Real* x;  // I wide
  int64_t x_time_stride, x_row_stride;
  const Real* h;  // [N, P]
  const Real* c;  // [N, H], null for cells without a cell state
  Real* y;        // P wide
  int64_t y_time_stride, y_row_stride;
  Real* h_out;             // [N, P]
  Real* c_out;             // [N, H], null for cells without a cell state
  const int64_t* lengths;  // [N], each in 1..T; null: T each
  bool reverse;
};

/// From x and the states before to the states after.
template <typename Real>
void step(const StepWeights<Real>& weights, const StepRows<Real>& rows);

/// From x and the states before to all hidden states, and the last ones. The weights must be packed.
template <typename Real>
void layer(const StepWeights<Real>& weights, const LayerRows<Real>& rows);

/// Numbers that packed weights take.
template <typename Real>
int64_t packed_step_size(const StepWeights<Real>& weights);

/// Packs the weights into memory that begins at a multiple of 64 bytes.
template <typename Real>
void pack_step(const StepWeights<Real>& weights, Real* to);

/// Refuses places below 0 or from `states` on, and those that occur twice.
void check_slots(const int64_t* slots, int64_t count, int64_t states);

}  // namespace rnnfast::cpu
