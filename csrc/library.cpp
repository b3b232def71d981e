// The schemas of the ops, and the Python module rnnfast._C, whose import registers them.
//
// What an argument means is said in rnnfast/nn/ops.py, which is the only caller.

// Compiled with Py_LIMITED_API (setup.py): one build serves every Python from 3.11.
#include <Python.h>
#include <torch/csrc/stable/library.h>

#include "python.h"

// The cell is a number, not a name: up to torch 2.13 the stable ABI leaks every string argument
// (https://github.com/pytorch/pytorch/issues/191340), and such crumbs keep the heap from closing its gaps.
STABLE_TORCH_LIBRARY(rnnfast, m) {
  m.def(
      "layer(int cell, Tensor input, Tensor h0, Tensor? c0, Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh, "
      "Tensor? w_hr, Tensor? lengths, Tensor? batch_sizes, bool batch_first, bool reverse, int keep, bool tf32=False) "
      "-> (Tensor output, Tensor h_n, Tensor c_n, Tensor reserve)");
  m.def(
      "layer_backward(int cell, Tensor? grad_output, Tensor? grad_h_n, Tensor? grad_c_n, Tensor input, Tensor h0, "
      "Tensor? c0, Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh, Tensor? w_hr, Tensor output, Tensor reserve, "
      "Tensor? lengths, Tensor? batch_sizes, bool batch_first, bool reverse, bool input_gradient, bool tf32=False, "
      "bool state_gradient=True) "
      "-> (Tensor grad_input, Tensor grad_h0, Tensor grad_c0, Tensor grad_w_ih, Tensor grad_w_hh, Tensor grad_b_ih, "
      "Tensor grad_b_hh, Tensor grad_w_hr)");
  m.def(
      "pooled(int cell, Tensor ids, Tensor lengths, Tensor table, Tensor w_hh, Tensor? b_hh, "
      "Tensor? word_weights, bool distinct, bool padding_before, bool reverse, bool with_mean, bool with_max, "
      "bool with_last) -> (Tensor mean, Tensor max, Tensor last, Tensor word_sums)");
  m.def(
      "quantized_layer(int cell, Tensor input, Tensor h0, Tensor? c0, Tensor weights, Tensor? lengths, "
      "Tensor? batch_sizes, bool batch_first, bool reverse) -> (Tensor output, Tensor h_n, Tensor c_n)");
  m.def("cpu_peak(float seconds) -> float");
  m.def("cpu_target() -> str");
  m.def("cpu_targets() -> str");
  m.def("cpu_target_ran() -> str");
}

PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, rnnfast::kPythonFunctions, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
