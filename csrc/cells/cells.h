// The list of cells. A new cell is a file beside this one, its include, and one line in the list.
//
// A cell says what happens to one hidden unit at one time step. It is generic over the vector type V, so that the same
// lines serve every instruction set, and knows nothing of batches, layouts or matrices. Its sums are what the matrices
// give it: `sums` linear combinations of x_t and h_(t-1), each with the weights of one gate for either, or none of
// them.
//
//   gates            blocks of H rows in W_ih and W_hh, in torch's order
//   sums             linear combinations a unit needs; x_gate[s] and h_gate[s] say which gate feeds sum s, -1: none
//   saved            numbers of a unit that the backward pass needs beside the output
//   slots            gradients of sums that the backward pass makes. Of these, `gates` from x_slot on belong to W_ih x,
//                    in the order of gates x_order, and as many from h_slot on to W_hh h, in the order h_order
//   has_c            there is a cell state beside the hidden state
//   mixes_h          h_t depends on h_(t-1) also directly, not only through W_hh
//   is_bounded       |h_t| is at most 1, or, if h_(t-1) is mixed into it, at most the larger of that and 1
//
//   forward(z, h_before, c, saved)   z[sums] -> h; c goes from c_(t-1) to c_t
//   backward(dh, mix, dc, h, h_before, c_before, saved, dz)
//                    dh -> dz[slots]; dc goes from the gradient of c_t to that of c_(t-1); mix becomes the direct part
//                    of the gradient of h_(t-1)
//   output(saved)    h again, for cells with a projection behind them
//
// Included inside a target's region, so nothing here may include anything.
#pragma once

#include "cells/elman.h"
#include "cells/gru.h"
#include "cells/lstm.h"

// X(name of the cell in the op, type)
#define RNNFAST_CELLS(X) \
  X("rnn_tanh", Tanh)    \
  X("rnn_relu", Relu)    \
  X("gru", Gru)          \
  X("lstm", Lstm)
