// A sweep over time on an NVIDIA GPU, as its caller describes it, and the small kernels around it: raw device pointers,
// sizes and a stream. No torch here. What sweeps is resident.h, or stepwise.h.
//
// Letters: T time steps, N batch rows, H hidden size, G gates, S sums and slots of the cell (csrc/cells/cells.h).
// Strides are in elements, not bytes. The innermost dimension of every array is contiguous. "Sums" are float, or double
// where the type is kFloat64. Nothing here allocates or synchronizes: every function puts its work on the stream.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace rnnfast::cuda {

/// What tensors are made of. Sums are float for all but kFloat64.
enum class Type { kFloat32, kFloat16, kBFloat16, kFloat64 };

/// The vectors of a padded or packed sequence, addressed by time step and batch row.
template <typename Element>
struct Sequence {
  Element* data;        // null: there is no such sequence
  int64_t time_stride;  // padded only
  int64_t row_stride;
};

struct Layer {
  int cell;  // number in the order of RNNFAST_CELLS
  Type type;
  bool tf32;  // products of kFloat32 may be rounded as TF32 does
  int64_t T, N, H;
  bool reverse;              // from the last time step to the first
  const int32_t* lengths;    // [N] on the device, each in 1..T; null: every row has T steps
  const int64_t* first_row;  // packed: [T] on the device, where each time step begins; padded: null
  const void* w_hh;          // [G*H, H]
  const void* h0;            // [N, H], null where it is zero
  const void* c0;            // [N, H], null for cells without a cell state
};

struct Forward : Layer {
  Sequence<const void> projected;  // G*H sums wide: the input's part of them, W_ih x_t without bias
  const void* b_ih;                // [G*H], null without bias
  const void* b_hh;                // [G*H], null without bias
  Sequence<void> output;           // H wide; zero past a row's length
  void* h_n;                       // [N, H]
  void* c_n;                       // [N, H], null for cells without a cell state
  Sequence<void> reserve;          // saved*H wide: what the backward pass needs beside the output; null: not kept
  Sequence<void> cells;            // H wide: the cell states alone, if the rest is to be made again; else null
};

/// Weights and biases have no part in it: their gradients are products of dz, which the caller makes.
struct Backward : Layer {
  Sequence<const void> output;       // H wide, from the forward pass
  Sequence<const void> reserve;      // saved*H wide, from the forward pass; null for cells that save nothing
  Sequence<const void> grad_output;  // H wide, null where it is zero
  const void* grad_h_n;              // [N, H], null where it is zero
  const void* grad_c_n;              // [N, H], null where it is zero
  Sequence<void> dz;                 // S*H wide, gradients of the sums, slot by slot; zero past a row's length
  void* grad_h0;                     // [N, H]
  void* grad_c0;                     // [N, H], null for cells without a cell state
};

/// Of each step the hidden state before it, laid out like the output: h_(t-1) in the direction of the sweep, h0 at a
/// row's first step, zero past its length.
cudaError_t states_before(const Layer&, Sequence<const void> output, Sequence<void> before, cudaStream_t);

/// A copy of a sequence `width` wide, with zeros past each row's length, where the original may hold anything.
cudaError_t without_padding(const Layer&, int64_t width, Sequence<const void> from, Sequence<void> to, cudaStream_t);

/// The hidden states again, from the reserve: an LSTM's m_t = o tanh(c_t), of which only the projection was kept. Laid
/// out like the reserve, H wide; zero past a row's length, where the reserve may hold anything.
cudaError_t outputs(const Layer&, Sequence<const void> reserve, Sequence<void> output, cudaStream_t);

/// What keep = all would have kept, for all steps at once, from the sums' two parts without bias.
/// rows: of the flat arrays; cells: [rows, H], null for cells without a cell state; reserve: [rows, saved*H];
/// before: [rows, H], null with a projection behind the cell, whose hidden state is not H wide.
cudaError_t remake(const Forward&, int64_t rows, const void* projected, const void* hidden, const void* cells,
                   const void* before, void* reserve, cudaStream_t);

/// Puts numbers of the host on the device by way of launch parameters, so that nothing waits and a CUDA graph may
/// capture it.
cudaError_t put(const int32_t* host, int32_t* device, int64_t count, cudaStream_t);
cudaError_t put(const int64_t* host, int64_t* device, int64_t count, cudaStream_t);

}  // namespace rnnfast::cuda
