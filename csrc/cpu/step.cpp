#include "cpu/step.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <vector>

#include "cpu/pass.h"
#include "cpu/targets.h"
#include "cpu/tensors.h"

namespace rnnfast::cpu {
namespace {

/// Floating-point operations of a step below which it is done by the thread that asks for it.
constexpr double kInlineGrain = 4e6;

/// Operations of a time step and hidden units, for each member of a team, below which meeting costs more than it saves.
constexpr double kMemberGrain = 5e5;
constexpr int64_t kMemberUnits = 64;

/// The places and lengths of rows that are neighbours and have one time step.
struct Neighbours {
  std::array<int64_t, kGroupRows> index, length;
  constexpr Neighbours() : index{}, length{} {
    for (int64_t row = 0; row < kGroupRows; ++row) {
      index[row] = row;
      length[row] = 1;
    }
  }
};
constexpr Neighbours kNeighbours;

template <typename Real>
const Kernels<Real>& kernels_for(const StepWeights<Real>& w) {
  if constexpr (sizeof(Real) == sizeof(float))
    if (w.quantized) return quantized_kernels_of(w.cell);
  return kernels_of<Real>(w.cell);
}

template <typename Real>
Forward<Real> forward_of(const StepWeights<Real>& w, const StepRows<Real>& rows) {
  Forward<Real> f{};
  f.T = 1;
  f.N = rows.N;
  f.I = w.I;
  f.H = w.H;
  f.P = w.P;
  f.w_ih = w.w_ih;
  f.w_hh = w.w_hh;
  f.w_hr = w.w_hr;
  f.b_ih = w.b_ih;
  f.b_hh = w.b_hh;
  f.packed = w.packed != nullptr;
  f.input = {rows.x, 0, rows.x_stride, nullptr};
  f.h0 = rows.h;
  f.c0 = rows.c;
  f.output = {rows.h_out, 0, w.P, nullptr};
  f.c_n = rows.c_out;
  return f;
}

/// Floating-point operations of a time step of one row.
template <typename Real>
double row_operations(const Kernels<Real>& kernels, const StepWeights<Real>& w) {
  return 2.0 * (kernels.gates * w.H * (w.I + w.P) + (w.w_hr ? w.P * w.H : 0));
}

/// As many members of a team as so many operations of a time step are worth.
template <typename Real>
int64_t members_for(double operations, const StepWeights<Real>& w) {
  return std::min({static_cast<int64_t>(torch::stable::get_num_threads()),
                   static_cast<int64_t>(operations / kMemberGrain), w.H / kMemberUnits});
}

/// Some neighbouring rows in one go.
template <typename Real>
const char* sweep(const Kernels<Real>& kernels, Forward<Real> f, const StepRows<Real>& rows, const Real* packed,
                  int64_t begin, int64_t end, Real* scratch, Member* member) {
  const int64_t size = end - begin, H = f.H, P = f.P;
  f.N = size;
  f.input.data += begin * rows.x_stride;
  f.output.data += begin * P;
  if (rows.reserve) f.reserve = {rows.reserve + begin * kernels.saved * H, 0, kernels.saved * H, nullptr};
  const RowGroup group{kNeighbours.index.data(), kNeighbours.length.data(), size};
  if (!rows.slots) {
    f.h0 += begin * P;
    if (kernels.has_c) {
      f.c0 += begin * H;
      f.c_n += begin * H;
    }
    return kernels.forward(f, packed, group, scratch, member);
  }
  // The states come from their places, and go back to them.
  Real *const h = scratch + kernels.forward_scratch_size(f), *const c = h + kGroupRows * P;
  const int64_t* const slots = rows.slots + begin;
  for (int64_t row = 0; row < size; ++row) {
    std::memcpy(h + row * P, rows.h + slots[row] * P, P * sizeof(Real));
    if (kernels.has_c) std::memcpy(c + row * H, rows.c + slots[row] * H, H * sizeof(Real));
  }
  f.h0 = h;
  f.c0 = f.c_n = kernels.has_c ? c : nullptr;
  const char* name = kernels.forward(f, packed, group, scratch, member);
  for (int64_t row = 0; row < size; ++row) {
    std::memcpy(const_cast<Real*>(rows.h) + slots[row] * P, f.output.data + row * P, P * sizeof(Real));
    if (kernels.has_c) std::memcpy(rows.c_out + slots[row] * H, c + row * H, H * sizeof(Real));
  }
  return name;
}

}  // namespace

template <typename Real>
void step(const StepWeights<Real>& w, const StepRows<Real>& rows) {
  const Kernels<Real>& kernels = kernels_for(w);
  const Forward<Real> f = forward_of(w, rows);
  if (rows.N == 0) return;
  const int64_t weights_size = w.packed ? 0 : kernels.forward_weights_size(f);
  const int64_t scratch_size = kernels.forward_scratch_size(f) + (rows.slots ? kGroupRows * (w.P + w.H) : 0);
  const double operations = row_operations(kernels, w) * rows.N;
  const bool alone = operations < kInlineGrain && rows.N <= kGroupRows;
  if (alone && weights_size == 0) {
    Workspace workspace(Workspace::bytes<Real>(scratch_size));
    last_target = sweep(kernels, f, rows, w.packed, 0, rows.N, workspace.take<Real>(scratch_size), nullptr);
    return;
  }
  const int64_t most = torch::stable::get_num_threads();
  const int64_t members = members_for(operations, w);
  const bool team = !alone && members > rows.N && !rows.slots;
  const int64_t groups = (rows.N + kGroupRows - 1) / kGroupRows;
  const int64_t threads = alone ? 1 : std::min<int64_t>(most, team ? members : std::max<int64_t>(groups, 1));
  Workspace workspace(Workspace::bytes<Real>(weights_size) + Workspace::bytes<Real>(scratch_size) * threads);
  Real* const packing = workspace.take<Real>(weights_size);
  std::vector<Real*> scratch;
  for (int64_t thread = 0; thread < threads; ++thread) scratch.push_back(workspace.take<Real>(scratch_size));
  const Real* const packed = w.packed ? w.packed : packing;
  const char* ran = last_target;
  Team meeting;
  // All threads pack, unless that was done before; then each takes groups of rows, or all of them share the hidden
  // units of all rows.
  torch::stable::parallel_for(0, threads, 1, [&](int64_t first, int64_t last) {
    for (int64_t thread = first; thread < last; ++thread) {
      Member member(meeting);
      if (weights_size > 0) {
        const int64_t parts = threads == 1 ? 1 : 4 * threads;
        member.share(parts, [&](int64_t part) { kernels.pack_forward(f, packing, part, parts); });
      }
      if (team) {
        const char* name = sweep(kernels, f, rows, packed, 0, rows.N, scratch[0], &member);
        if (thread == 0) ran = name;
        continue;
      }
      member.share(groups, [&](int64_t group) {
        const char* name = sweep(kernels, f, rows, packed, rows.N * group / groups, rows.N * (group + 1) / groups,
                                 scratch[thread], nullptr);
        if (group == 0) ran = name;
      });
    }
  });
  last_target = ran;
}

template <typename Real>
void layer(const StepWeights<Real>& w, const LayerRows<Real>& rows) {
  const Kernels<Real>& kernels = kernels_for(w);
  Forward<Real> f = forward_of(w, StepRows<Real>{});
  f.T = rows.T;
  f.N = rows.N;
  f.reverse = rows.reverse;
  f.input = {rows.x, rows.x_time_stride, rows.x_row_stride, nullptr};
  f.h0 = rows.h;
  f.c0 = rows.c;
  f.output = {rows.y, rows.y_time_stride, rows.y_row_stride, nullptr};
  f.h_n = rows.h_out;
  f.c_n = rows.c_out;
  if (rows.N == 0) return;
  const int64_t tokens =
      rows.lengths ? std::accumulate(rows.lengths, rows.lengths + rows.N, int64_t{0}) : rows.T * rows.N;
  const double operations = row_operations(kernels, w) * static_cast<double>(tokens);
  const int members = static_cast<int>(std::max<int64_t>(1, members_for(operations / rows.T, w)));
  const bool team = members > rows.N && rows.N <= kGroupRows;
  const int threads = team || operations < kInlineGrain ? 1 : threads_for(operations);
  run<Real>({team, team ? members : 1, RowShares(rows.lengths, rows.T, rows.N, threads)},
            {0, kernels.forward_scratch_size(f), 0, [](Real*, int64_t, int64_t) {},
             [&](const Real*, const RowGroup& group, Real* scratch, Member* member) {
               return kernels.forward(f, w.packed, group, scratch, member);
             }});
}

template <typename Real>
int64_t packed_step_size(const StepWeights<Real>& w) {
  Forward<Real> f = forward_of(w, StepRows<Real>{});
  f.packed = true;
  return kernels_of<Real>(w.cell).forward_weights_size(f);
}

template <typename Real>
void pack_step(const StepWeights<Real>& w, Real* to) {
  Forward<Real> f = forward_of(w, StepRows<Real>{});
  f.packed = true;
  kernels_of<Real>(w.cell).pack_forward(f, to, 0, 1);
}

void check_slots(const int64_t* slots, int64_t count, int64_t states) {
  static thread_local std::vector<bool> seen;
  seen.assign(states, false);
  for (int64_t i = 0; i < count; ++i) {
    RNNFAST_CHECK(slots[i] >= 0 && slots[i] < states, "slots must be between 0 and ", states - 1, ", got: ", slots[i]);
    RNNFAST_CHECK(!seen[slots[i]], "slots must differ from each other, got twice: ", slots[i]);
    seen[slots[i]] = true;
  }
}

#define RNNFAST_STEP(Real)                                                     \
  template void step<Real>(const StepWeights<Real>&, const StepRows<Real>&);   \
  template void layer<Real>(const StepWeights<Real>&, const LayerRows<Real>&); \
  template int64_t packed_step_size<Real>(const StepWeights<Real>&);           \
  template void pack_step<Real>(const StepWeights<Real>&, Real*);
RNNFAST_STEP(float)
RNNFAST_STEP(double)
#undef RNNFAST_STEP

}  // namespace rnnfast::cpu
