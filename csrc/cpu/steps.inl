// The time steps of a group of batch rows, for both directions.
//
// The rows are ordered longest first, so the rows that have a vector at time step t are the first few: nothing is
// computed for padding, and no step waits for another thread. Letters and layouts as in cpu/layer.h.

/// The number of rows that are longer than t.
inline int64_t rows_at(const RowGroup& rows, int64_t t) {
  int64_t count = rows.size;
  while (count > 0 && rows.length[count - 1] <= t) --count;
  return count;
}

/// One time step of a sweep. Of the rows [0, active), the first `linked` were also in the step handled before this one,
/// and the first `going_on` will be in the one handled after it.
struct Step {
  int64_t t, active, linked, going_on;
};

/// Calls each(step) over the group's time steps, from the first to the last or the other way round.
template <typename Each>
RNNFAST_INLINE void for_steps(const RowGroup& rows, bool falling, const Each& each) {
  const int64_t steps = rows.length[0];
  int64_t before = 0;
  for (int64_t s = 0; s < steps; ++s) {
    const int64_t t = falling ? steps - 1 - s : s, active = rows_at(rows, t);
    const int64_t after = s == steps - 1 ? 0 : rows_at(rows, falling ? t - 1 : t + 1);
    each(Step{t, active, least(before, active), least(after, active)});
    before = active;
  }
}

/// Points to what belongs to the rows [first, end) of the group, `stride` apart for neighbours in the batch.
template <typename Pointer>
void place(Pointer* to, Pointer from, int64_t stride, const RowGroup& rows, int64_t first, int64_t end) {
  for (int64_t r = first; r < end; ++r) to[r] = from + rows.index[r] * stride;
}

/// Points to the vectors of a sequence at time step t, if there is such a sequence.
template <typename Pointer, typename Real>
void place(Pointer* to, const Sequence<Real>& sequence, int64_t t, const RowGroup& rows, int64_t end) {
  if (sequence.data) place<Pointer>(to, sequence.at(t), sequence.row_stride, rows, 0, end);
}

/// How far behind a vector of time step t that of the same row at time step `next` stands; 0 if there is none. Each
/// vector is fetched while the step before it is computed, since a row is too short for the processor to see it coming.
template <typename Real>
int64_t ahead(const Sequence<Real>& sequence, int64_t t, int64_t next, bool exists) {
  return sequence.data && exists ? sequence.at(next) - sequence.at(t) : 0;
}

RNNFAST_INLINE void fetch(const void* address) { __builtin_prefetch(address, 0, 2); }
RNNFAST_INLINE void fetch_to_write(const void* address) { __builtin_prefetch(address, 1, 2); }

/// Writes zeros past the length of the group's row r.
template <typename Real>
void clear_padding(const Sequence<Real>& sequence, int64_t T, int64_t width, const RowGroup& rows, int64_t r) {
  if (sequence.first_row) return;  // packed: there is no padding
  for (int64_t t = rows.length[r]; t < T; ++t) __builtin_memset(sequence.at(t, rows.index[r]), 0, width * sizeof(Real));
}
