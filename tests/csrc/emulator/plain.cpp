// cuda/resident.h, cuda/sweep.h and the emulated device for ctypes: plain C names. Pointers are the host's.

#include "cuda/resident.h"
#include "cuda/sweep.h"
#include "emulator.h"

using namespace rnnfast::cuda;

extern "C" {

void set_device(int multiprocessors, int capability, int shared_bytes, int largest_cluster, uint64_t seed) {
  const int number = emulator::device.number + 1;
  emulator::device = {multiprocessors, capability, shared_bytes, largest_cluster, number};
  emulator::seed = seed;
}

int64_t forward_workspace(const Forward* f) { return int64_t(resident_workspace(resident_plan(*f))); }
int64_t backward_workspace(const Backward* b) { return int64_t(resident_workspace(resident_plan(*b))); }
int forward_sweep(const Forward* f, void* memory) { return resident_sweep(*f, resident_plan(*f), memory, nullptr); }
int backward_sweep(const Backward* b, void* memory) { return resident_sweep(*b, resident_plan(*b), memory, nullptr); }

/// exchange, blocks, units, columns, shared_bytes, clocks of a time step; all -1 where there is no plan.
static void tell(const Plan& plan, int* to) {
  const int found[] = {int(plan.exchange), plan.blocks, plan.units, plan.columns, plan.shared_bytes, int(plan.clocks)};
  for (int i = 0; i < 6; ++i) to[i] = plan.exists() ? found[i] : -1;
}
void forward_plan(const Forward* f, int* to) { tell(resident_plan(*f), to); }
void backward_plan(const Backward* b, int* to) { tell(resident_plan(*b), to); }

int write_states_before(const Layer* layer, const Sequence<const void>* output, const Sequence<void>* before) {
  return states_before(*layer, *output, *before, nullptr);
}
int make_again(const Forward* f, int64_t rows, const void* projected, const void* hidden, const void* cells,
               const void* before, void* reserve) {
  return remake(*f, rows, projected, hidden, cells, before, reserve, nullptr);
}
int put_lengths(const int32_t* from, int32_t* to, int64_t count) { return put(from, to, count, nullptr); }
int put_places(const int64_t* from, int64_t* to, int64_t count) { return put(from, to, count, nullptr); }
}
