// What a CPU kernel is told: one layer in one direction, as raw pointers. No torch here.
//
// Letters: T time steps, N batch rows, I input size, H hidden size, G gates of the cell.
// Strides are in elements, not bytes. The innermost dimension of every array is contiguous.
#pragma once

#include <cstdint>

#include "cpu/team.h"

namespace rnnfast::cpu {

/// A number of 16 bits: the upper half of a float.
struct BFloat16 {
  uint16_t bits;
};

/// What sums, packed weights and working memory are made of.
template <typename Real>
struct WorkOf {
  typedef Real type;
};
template <>
struct WorkOf<BFloat16> {
  typedef float type;
};
template <typename Real>
using Work = typename WorkOf<Real>::type;

/// The vectors of a padded or packed sequence, addressed by time step and batch row.
template <typename Real>
struct Sequence {
  Real* data;           // null: there is no such sequence
  int64_t time_stride;  // padded only
  int64_t row_stride;
  const int64_t* first_row;  // packed: [T], where each time step begins; padded: null

  /// The vector of batch row 0 at time step t; that of row n stands n * row_stride behind it.
  Real* at(int64_t t) const { return data + (first_row ? first_row[t] * row_stride : t * time_stride); }
  Real* at(int64_t t, int64_t n) const { return at(t) + n * row_stride; }
};

/// Batch rows that one thread sweeps together, longest first.
struct RowGroup {
  const int64_t* index;   // [size], the row's place in the batch
  const int64_t* length;  // [size], falling, at least 1
  int64_t size;
};

template <typename Real>
struct Layer {
  int64_t T, N, I, H;
  int64_t P;                   // width of the hidden state: H, or that of the projection behind an LSTM
  bool reverse;                // from the last time step to the first
  const Real* w_ih;            // [G*H, I]
  const Real* w_hh;            // [G*H, P]
  const Real* w_hr;            // [P, H], null without a projection
  const Real* b_ih;            // [G*H], null without bias
  const Real* b_hh;            // [G*H], null without bias
  Sequence<const Real> input;  // I wide
  const Real* h0;              // [N, P]
  const Real* c0;              // [N, H], null for cells without a cell state
  bool packed = false;         // the weights were packed before, for many calls, however few vectors this one has
  bool once = false;           // forward, all vectors fit one group: those of the input meet their weights at one time
};

template <typename Real>
struct Forward : Layer<Real> {
  Sequence<Real> output;   // P wide; zero past a row's length
  Real* h_n;               // [N, P], null where the output is enough
  Real* c_n;               // [N, H], null for cells without a cell state
  Sequence<Real> reserve;  // saved*H wide: what the backward pass needs beside the output; null where it is not kept
  Sequence<Real> cells;    // H wide: the cell states alone, if the rest is to be made again; else null
};

template <typename Real>
struct Backward : Layer<Real> {
  Sequence<const Real> output;       // P wide, from the forward pass
  Sequence<const Real> reserve;      // saved*H wide, from the forward pass; null where it is to be made again
  Sequence<const Real> cells;        // H wide, from the forward pass; null unless there are cell states but no reserve
  Sequence<const Real> grad_output;  // P wide, null where it is zero
  const Real* grad_h_n;              // [N, P], null where it is zero
  const Real* grad_c_n;              // [N, H], null where it is zero
  Sequence<Real> grad_input;         // I wide, null where it is not wanted; zero past a row's length
  Real* grad_h0;                     // [N, P], working memory where it is not wanted
  Real* grad_c0;                     // [N, H], null for cells without a cell state
  Real* grad_w_ih;                   // [G*H, I]
  Real* grad_w_hh;                   // [G*H, P]
  Real* grad_w_hr;                   // [P, H], null without a projection
  Real* grad_b_ih;                   // [G*H]
  Real* grad_b_hh;                   // [G*H]
  bool wants_h0 = true;              // whether grad_h0 is wanted
  bool alone = false;                // all rows are in one group: its weight gradients are those of the call
};

/// Token ids in, what is left of the hidden states of each row out. Of the layer there are T, N, H, reverse, w_hh and
/// b_hh; I is 0 and P is H.
template <typename Real>
struct Pooled : Layer<Real> {
  const int32_t* ids;       // [N, T], null if they are wide
  const int64_t* wide_ids;  // [N, T], null if they are not
  bool padding_before;      // a row's tokens are its last ones
  const Real* table;        // [V, G*H], of each word W_ih x + b_ih
  int64_t table_stride;     // of neighbouring words
  Work<Real>* mean;         // [N, H], over the row's tokens; null where it is not wanted
  Work<Real>* max;          // [N, H], likewise
  Work<Real>* last;         // [N, H], of the step that is handled last; null where it is not wanted
};

/// The functions of one cell on one target. A pass packs the weights once, runs every group of rows on some thread,
/// and, going backward, ends with `reduce`. Sizes are in elements; every buffer begins at a multiple of 64 bytes.
template <typename Real>
struct Kernels {
  int64_t gates;  // G
  int64_t saved;  // numbers of a hidden unit in the reserve
  bool has_c;     // whether there is a cell state

  int64_t (*forward_weights_size)(const Layer<Real>&);
  /// Packing and reducing are cut into parts, which may run at the same time.
  void (*pack_forward)(const Layer<Real>&, Work<Real>* weights, int64_t part, int64_t parts);
  int64_t (*forward_scratch_size)(const Layer<Real>&);
  /// Returns the name of the target that this very code was compiled for. With a member, the group's work is shared
  /// with the rest of its team, which is given the same weights, group and scratch.
  const char* (*forward)(const Forward<Real>&, const Work<Real>* weights, const RowGroup&, Work<Real>* scratch,
                         Member*);

  int64_t (*backward_weights_size)(const Backward<Real>&);
  void (*pack_backward)(const Backward<Real>&, Work<Real>* weights, int64_t part, int64_t parts);
  int64_t (*backward_scratch_size)(const Backward<Real>&, bool team);
  /// Numbers at the head of the scratch that must be zero before its first group.
  int64_t (*backward_zeros)(const Backward<Real>&);
  /// Adds the group's share of the weight gradients to the scratch.
  const char* (*backward)(const Backward<Real>&, const Work<Real>* weights, const RowGroup&, Work<Real>* scratch,
                          Member*);
  /// Sums the threads' scratch in order, so that the result is the same bit for bit at a given number of threads.
  void (*reduce)(const Backward<Real>&, Work<Real>* const* scratch, int threads, int64_t part, int64_t parts);

  // Null for float32 with narrow operands.
  int64_t (*pooled_weights_size)(const Pooled<Real>&);
  void (*pack_pooled)(const Pooled<Real>&, Work<Real>* weights, int64_t part, int64_t parts);
  int64_t (*pooled_scratch_size)(const Pooled<Real>&);
  const char* (*pooled)(const Pooled<Real>&, const Work<Real>* weights, const RowGroup&, Work<Real>* scratch);
};

/// The most rows a group may have: its vectors of one time step stay in the L2 cache beside the weights.
inline constexpr int64_t kGroupRows = 96;

}  // namespace rnnfast::cpu
