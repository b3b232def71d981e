// Functions that Python calls without torch's dispatcher, which takes longer than a step of one row. Tensors come as
// the addresses of their numbers, 0 for none. What the arguments mean is said in rnnfast/nn/steps.py, the only caller,
// which has checked them.
#include "python.h"

#include <exception>
#include <string>

#include "cpu/step.h"

namespace rnnfast {
namespace {

/// What a layer is computed in, the first of its arguments.
constexpr int64_t kDouble = 1, kQuantized = 2;

/// The arguments of a call: integers, one after another.
class Integers {
 public:
  Integers(PyObject* const* values, Py_ssize_t count) : values_(values), count_(count) {}

  int64_t number() { return next_ < count_ ? PyLong_AsLongLong(values_[next_++]) : (++next_, 0); }

  template <typename Value>
  Value* address() {
    return reinterpret_cast<Value*>(number());
  }

  /// Whether as many came as were asked for, and all of them integers; else there is an error of Python's.
  bool are_right() const {
    if (count_ != next_) PyErr_Format(PyExc_TypeError, "takes %zd arguments, got: %zd", next_, count_);
    return !PyErr_Occurred();
  }

 private:
  PyObject* const* values_;
  Py_ssize_t count_, next_ = 0;
};

/// Runs without Python's lock. What is thrown becomes an error of Python's, and the result null.
template <typename Run>
PyObject* without_lock(const Run& run) {
  std::string error;
  PyThreadState* const state = PyEval_SaveThread();
  try {
    run();
  } catch (const std::exception& caught) {
    error = caught.what();
  }
  PyEval_RestoreThread(state);
  if (error.empty()) return Py_NewRef(Py_None);
  PyErr_SetString(PyExc_RuntimeError, error.c_str());
  return nullptr;
}

template <typename Real>
cpu::StepWeights<Real> weights_of(Integers& a, bool quantized = false) {
  cpu::StepWeights<Real> w{};
  w.cell = a.number();
  w.quantized = quantized;
  w.I = a.number();
  w.H = a.number();
  w.P = a.number();
  w.packed = a.address<Real>();
  w.w_ih = a.address<Real>();
  w.w_hh = a.address<Real>();
  w.w_hr = a.address<Real>();
  w.b_ih = a.address<Real>();
  w.b_hh = a.address<Real>();
  return w;
}

template <typename Real>
PyObject* step_of(Integers& a, bool quantized = false) {
  const cpu::StepWeights<Real> w = weights_of<Real>(a, quantized);
  cpu::StepRows<Real> rows{};
  rows.N = a.number();
  rows.x = a.address<Real>();
  rows.x_stride = a.number();
  rows.h = a.address<Real>();
  rows.c = a.address<Real>();
  rows.h_out = a.address<Real>();
  rows.c_out = a.address<Real>();
  rows.reserve = a.address<Real>();
  rows.slots = a.address<int64_t>();
  return a.are_right() ? without_lock([&] { cpu::step(w, rows); }) : nullptr;
}

PyObject* step(PyObject*, PyObject* const* values, Py_ssize_t count) {
  Integers a(values, count);
  const int64_t kind = a.number();
  return kind == kDouble ? step_of<double>(a) : step_of<float>(a, kind == kQuantized);
}

template <typename Real>
PyObject* layer_of(Integers& a, bool quantized = false) {
  const cpu::StepWeights<Real> w = weights_of<Real>(a, quantized);
  cpu::LayerRows<Real> rows{};
  rows.T = a.number();
  rows.N = a.number();
  rows.x = a.address<Real>();
  rows.x_time_stride = a.number();
  rows.x_row_stride = a.number();
  rows.h = a.address<Real>();
  rows.c = a.address<Real>();
  rows.y = a.address<Real>();
  rows.y_time_stride = a.number();
  rows.y_row_stride = a.number();
  rows.h_out = a.address<Real>();
  rows.c_out = a.address<Real>();
  rows.lengths = a.address<int64_t>();
  rows.reverse = a.number();
  return a.are_right() ? without_lock([&] { cpu::layer(w, rows); }) : nullptr;
}

PyObject* layer(PyObject*, PyObject* const* values, Py_ssize_t count) {
  Integers a(values, count);
  const int64_t kind = a.number();
  return kind == kDouble ? layer_of<double>(a) : layer_of<float>(a, kind == kQuantized);
}

template <typename Real>
PyObject* pack_of(Integers& a) {
  const cpu::StepWeights<Real> w = weights_of<Real>(a);
  Real* const to = a.address<Real>();
  if (!a.are_right()) return nullptr;
  if (!to) return PyLong_FromLongLong(cpu::packed_step_size(w));
  return without_lock([&] { cpu::pack_step(w, to); });
}

PyObject* pack_step(PyObject*, PyObject* const* values, Py_ssize_t count) {
  Integers a(values, count);
  return a.number() ? pack_of<double>(a) : pack_of<float>(a);
}

PyObject* check_slots(PyObject*, PyObject* const* values, Py_ssize_t count) {
  Integers a(values, count);
  const auto* slots = a.address<int64_t>();
  const int64_t rows = a.number(), states = a.number();
  return a.are_right() ? without_lock([&] { cpu::check_slots(slots, rows, states); }) : nullptr;
}

template <typename Function>
PyMethodDef method(const char* name, Function function) {
  // Python's own way to store a function that takes its arguments so.
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)), METH_FASTCALL, nullptr};
}

}  // namespace

PyMethodDef kPythonFunctions[] = {method("step", step),
                                  method("layer", layer),
                                  method("pack_step", pack_step),
                                  method("check_slots", check_slots),
                                  {nullptr, nullptr, 0, nullptr}};

}  // namespace rnnfast
