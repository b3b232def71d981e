// Holds every target that this machine has against the same layers in plain loops and double precision, without torch:
// so it also runs where there is none, on another architecture or from another compiler.
//
// Compile it with csrc/cpu/targets.cpp, csrc/cpu/team.cpp and csrc/cpu/targets/*.cpp. One line for each target; exit
// code 1 if one is wrong. Letters and layouts as in cpu/layer.h.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cpu/targets.h"

namespace {

using namespace rnnfast::cpu;

enum class Order { kTimeFirst, kBatchFirst, kPacked };

struct Shape {
  int64_t T, N, I, H;
  bool alone = false;  // for the variants that have all rows in one group, and for no others
};

/// Odd sizes: one unit, one row, panels and tiles with a remainder, more rows than a group takes, long sums, one step
/// of few rows and of more, few steps of a wide input.
constexpr Shape kShapes[] = {{3, 5, 1, 1},         {4, 1, 65, 131},       {5, 13, 3, 63},       {3, 101, 11, 17},
                             {1, 3, 19, 35, true}, {1, 37, 17, 35, true}, {3, 11, 67, 66, true}};

/// What is given, beside what always is. Each is run in both directions.
struct Variant {
  Order order;
  bool ragged, bias, grad_output, grad_last, grad_input;
  bool recompute;  // the backward pass makes the reserve again
  bool team;       // threads share every time step
  bool alone;      // all rows are in one group
};
constexpr Variant kVariants[] = {
    {Order::kTimeFirst, false, true, true, true, true, false, false, false},
    {Order::kBatchFirst, true, false, true, false, true, true, false, false},
    {Order::kTimeFirst, true, true, false, true, false, true, true, false},
    {Order::kPacked, true, true, true, true, true, false, true, false},
    {Order::kBatchFirst, true, true, true, true, true, false, false, true},
    {Order::kPacked, true, true, true, true, true, true, true, true},
};

constexpr struct {
  const char* name;
  bool projected;
} kCells[] = {{"rnn_tanh", false}, {"rnn_relu", false}, {"gru", false}, {"lstm", false}, {"lstm", true}};

/// A number as a double, and the nearest one to a double.
double value(float number) { return number; }
double value(double number) { return number; }
double value(BFloat16 number) {
  const uint32_t bits = uint32_t(number.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}
template <typename Real>
Real nearest(double number) {
  return static_cast<Real>(number);
}
template <>
BFloat16 nearest(double number) {
  const float wide = static_cast<float>(number);
  uint32_t bits;
  std::memcpy(&bits, &wide, sizeof bits);
  if (std::isnan(number)) return {0x7fc0};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

/// What rounding may add up to, beside the largest number.
template <typename Real>
constexpr double kTolerance = 20 * std::numeric_limits<Real>::epsilon();
template <>
constexpr double kTolerance<BFloat16> = 4.0 / 256;

template <typename Real>
const char* const kName = sizeof(Real) == 2   ? "bfloat16"
                          : sizeof(Real) == 4 ? "float32"
                                              : "float64";

constexpr int kThreads = 2;
constexpr int kParts = 3;  // of packing and reducing

/// Numbers at a multiple of 64 bytes, NaN until somebody writes them, with a margin that must stay NaN. Null if absent.
template <typename Real>
class Numbers {
 public:
  explicit Numbers(int64_t size, bool present = true) : size_(present ? size : 0), present_(present) {
    memory_.assign(size_ + 3 * kMargin, nearest<Real>(std::numeric_limits<double>::quiet_NaN()));
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    start_ = memory_.data() + kMargin + (64 - address % 64) % 64 / sizeof(Real);
  }
  Numbers(Numbers&&) = default;  // a copy would have its start elsewhere

  Real* data() const { return present_ ? start_ : nullptr; }
  int64_t size() const { return size_; }
  Numbers&& random(std::mt19937& generator, double scale) && {
    for (int64_t i = 0; i < size_; ++i) start_[i] = nearest<Real>(scale * (generator() / 2147483648.0 - 1));
    return std::move(*this);
  }
  bool margin_is_untouched() const {
    for (const Real& number : memory_)
      if ((&number < start_ || &number >= start_ + size_) && !std::isnan(value(number))) return false;
    return true;
  }

 private:
  static constexpr int64_t kMargin = 64;  // more than the longest vector has
  std::vector<Real> memory_;
  Real* start_;
  int64_t size_;
  bool present_;
};

/// What a layer should give, in the order in which cpu/layer.h lists it; sequences as the kernel's, zero where padded.
struct Results {
  std::vector<double> output, h_n, c_n;
  std::vector<double> grad_input, grad_h0, grad_c0, grad_w_ih, grad_w_hh, grad_w_hr, grad_b_ih, grad_b_hh;
};

using Vector = std::vector<double>;

template <typename Real>
Vector values(const Real* numbers, int64_t size) {
  Vector all(size);
  for (int64_t i = 0; i < size; ++i) all[i] = value(numbers[i]);
  return all;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// y[j] += sum over k of matrix[j][k] x[k]
template <typename Real, typename X>
void add_product(Vector& y, const Real* matrix, const X* x, int64_t width) {
  for (size_t j = 0; j < y.size(); ++j)
    for (int64_t k = 0; k < width; ++k) y[j] += value(matrix[j * width + k]) * value(x[k]);
}

/// y[k] += sum over j of matrix[j][k] x[j]
template <typename Real>
void add_transposed_product(double* y, const Real* matrix, const Vector& x, int64_t width) {
  for (size_t j = 0; j < x.size(); ++j)
    for (int64_t k = 0; k < width; ++k) y[k] += value(matrix[j * width + k]) * x[j];
}

/// sum[j][k] += y[j] x[k]
template <typename X>
void add_outer_product(Vector& sum, const Vector& y, const X* x, int64_t width) {
  for (size_t j = 0; j < y.size(); ++j)
    for (int64_t k = 0; k < width; ++k) sum[j * width + k] += y[j] * value(x[k]);
}

/// One time step of one row: what the forward pass leaves to the backward pass.
struct Moment {
  int64_t t;
  Vector h_before, c_before;        // [P], [H]
  Vector from_x, from_h;            // [G*H], W_ih x + b_ih and W_hh h + b_hh
  Vector gates[4], c, unprojected;  // [H], activations in torch's order
};

/// The layer in plain loops, row after row and step after step, from the equations in csrc/cells.
template <typename Real>
class PlainLayer {
 public:
  PlainLayer(const std::string& cell, int64_t G, const Forward<Real>& f, const Backward<Real>& b)
      : cell_(cell), G_(G), H_(f.H), f_(f), b_(b) {}

  /// Adds what the row gives to the results, which begin as zeros.
  void run(int64_t n, int64_t length, Results& results) const {
    std::vector<Moment> moments;
    Vector h = values(f_.h0 + n * f_.P, f_.P), c(H_);
    if (f_.c0) c = values(f_.c0 + n * H_, H_);
    for (int64_t s = 0; s < length; ++s) {
      moments.push_back(forward(f_.reverse ? length - 1 - s : s, n, h, c));
      std::copy(h.begin(), h.end(), results.output.begin() + (f_.output.at(moments.back().t, n) - f_.output.data));
    }
    std::copy(h.begin(), h.end(), results.h_n.begin() + n * f_.P);
    if (f_.c0) std::copy(c.begin(), c.end(), results.c_n.begin() + n * H_);

    Vector dh(f_.P), dc(H_);
    if (b_.grad_h_n) dh = values(b_.grad_h_n + n * f_.P, f_.P);
    if (b_.grad_c_n) dc = values(b_.grad_c_n + n * H_, H_);
    for (; !moments.empty(); moments.pop_back()) backward(moments.back(), n, dh, dc, results);
    std::copy(dh.begin(), dh.end(), results.grad_h0.begin() + n * f_.P);
    if (f_.c0) std::copy(dc.begin(), dc.end(), results.grad_c0.begin() + n * H_);
  }

  /// The time step t of row n, from and to the states h and c.
  Moment forward(int64_t t, int64_t n, Vector& h, Vector& c) const {
    Moment m{t, h, c, Vector(G_ * H_), Vector(G_ * H_), {}, c, Vector(H_)};
    if (f_.b_ih) m.from_x = values(f_.b_ih, G_ * H_);
    if (f_.b_hh) m.from_h = values(f_.b_hh, G_ * H_);
    add_product(m.from_x, f_.w_ih, f_.input.at(t, n), f_.I);
    add_product(m.from_h, f_.w_hh, h.data(), f_.P);
    for (Vector& gate : m.gates) gate.resize(H_);
    for (int64_t u = 0; u < H_; ++u) {
      const auto sum = [&](int64_t gate) { return m.from_x[gate * H_ + u] + m.from_h[gate * H_ + u]; };
      if (cell_ == "rnn_tanh") m.unprojected[u] = std::tanh(sum(0));
      if (cell_ == "rnn_relu") m.unprojected[u] = std::max(sum(0), 0.0);
      if (cell_ == "gru") {
        const double r = m.gates[0][u] = sigmoid(sum(0)), z = m.gates[1][u] = sigmoid(sum(1));
        const double candidate = m.gates[2][u] = std::tanh(m.from_x[2 * H_ + u] + r * m.from_h[2 * H_ + u]);
        m.unprojected[u] = (1 - z) * candidate + z * m.h_before[u];
      }
      if (cell_ == "lstm") {
        for (int gate : {0, 1, 3}) m.gates[gate][u] = sigmoid(sum(gate));
        m.gates[2][u] = std::tanh(sum(2));
        m.c[u] = m.gates[1][u] * m.c_before[u] + m.gates[0][u] * m.gates[2][u];
        m.unprojected[u] = m.gates[3][u] * std::tanh(m.c[u]);
      }
    }
    c = m.c;
    h = m.unprojected;
    if (f_.w_hr) {
      h.assign(f_.P, 0);
      add_product(h, f_.w_hr, m.unprojected.data(), H_);
    }
    return m;
  }

 private:
  /// dh and dc: the gradients of the states after the step, and then of those before it.
  void backward(const Moment& m, int64_t n, Vector& dh, Vector& dc, Results& results) const {
    if (b_.grad_output.data)
      for (int64_t p = 0; p < f_.P; ++p) dh[p] += value(b_.grad_output.at(m.t, n)[p]);
    Vector dy = dh;
    if (f_.w_hr) {
      add_outer_product(results.grad_w_hr, dh, m.unprojected.data(), H_);
      dy.assign(H_, 0);
      add_transposed_product(dy.data(), f_.w_hr, dh, H_);
    }
    dh.assign(f_.P, 0);
    Vector dx(G_ * H_), dz(G_ * H_);  // of from_x and from_h
    for (int64_t u = 0; u < H_; ++u) {
      const auto both = [&](int64_t gate, double gradient) { dx[gate * H_ + u] = dz[gate * H_ + u] = gradient; };
      const double y = m.unprojected[u];
      if (cell_ == "rnn_tanh") both(0, dy[u] * (1 - y * y));
      // The kernel's own output, for a sum so near to zero that rounding decides its sign.
      if (cell_ == "rnn_relu") both(0, value(b_.output.at(m.t, n)[u]) > 0 ? dy[u] : 0);
      if (cell_ == "gru") {
        const double r = m.gates[0][u], z = m.gates[1][u], candidate = m.gates[2][u];
        const double inner = dy[u] * (1 - z) * (1 - candidate * candidate);
        dx[2 * H_ + u] = inner;
        dz[2 * H_ + u] = inner * r;
        both(0, inner * m.from_h[2 * H_ + u] * r * (1 - r));
        both(1, dy[u] * (m.h_before[u] - candidate) * z * (1 - z));
        dh[u] = dy[u] * z;
      }
      if (cell_ == "lstm") {
        const double i = m.gates[0][u], f = m.gates[1][u], g = m.gates[2][u], o = m.gates[3][u];
        const double tanh_c = std::tanh(m.c[u]);
        dc[u] += dy[u] * o * (1 - tanh_c * tanh_c);
        both(0, dc[u] * g * i * (1 - i));
        both(1, dc[u] * m.c_before[u] * f * (1 - f));
        both(2, dc[u] * i * (1 - g * g));
        both(3, dy[u] * tanh_c * o * (1 - o));
        dc[u] *= f;
      }
    }
    add_outer_product(results.grad_w_ih, dx, f_.input.at(m.t, n), f_.I);
    add_outer_product(results.grad_w_hh, dz, m.h_before.data(), f_.P);
    for (int64_t j = 0; j < G_ * H_; ++j) {
      results.grad_b_ih[j] += dx[j];
      results.grad_b_hh[j] += dz[j];
    }
    add_transposed_product(dh.data(), f_.w_hh, dz, f_.P);
    if (b_.grad_input.data)
      add_transposed_product(results.grad_input.data() + (b_.grad_input.at(m.t, n) - b_.grad_input.data), f_.w_ih, dx,
                             f_.I);
  }

  const std::string cell_;
  const int64_t G_, H_;
  const Forward<Real>& f_;
  const Backward<Real>& b_;
};

/// The rows of a batch in groups, which the threads take in turn.
struct Groups {
  std::vector<int64_t> lengths, first_row, index, length;  // [N], [T], [N] and [N] longest first
  std::vector<RowGroup> groups;

  Groups(const Shape& shape, const Variant& variant, std::mt19937& random)
      : lengths(shape.N, shape.T), index(shape.N), length(shape.N) {
    if (variant.ragged)
      for (int64_t& l : lengths) l = 1 + random() % shape.T;
    lengths[random() % shape.N] = shape.T;
    if (variant.order == Order::kPacked) std::sort(lengths.rbegin(), lengths.rend());
    std::iota(index.begin(), index.end(), 0);
    std::stable_sort(index.begin(), index.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
    for (int64_t r = 0; r < shape.N; ++r) length[r] = lengths[index[r]];
    int64_t rows = 0;
    for (int64_t t = 0; t < shape.T; ++t) {
      first_row.push_back(rows);
      rows += std::count_if(lengths.begin(), lengths.end(), [&](int64_t l) { return l > t; });
    }
    const int64_t size = shape.N > kGroupRows || variant.alone ? kGroupRows : (shape.N + 2) / 3;
    for (int64_t first = 0; first < shape.N; first += size)
      groups.push_back({index.data() + first, length.data() + first, std::min(size, shape.N - first)});
  }
};

/// The largest error beside the largest number, in units of the tolerance. NaN goes through.
template <typename Real>
double distance(const Numbers<Real>& numbers, const Vector& expected, double tolerance) {
  double largest = 1, error = 0;
  for (double value : expected) largest = std::max(largest, std::abs(value));
  for (int64_t i = 0; i < numbers.size() && !std::isnan(error); ++i) {
    const double difference = std::abs(value(numbers.data()[i]) - expected[i]);
    if (!(difference <= error)) error = difference;
  }
  return error / (tolerance * largest);
}

struct Verdict {
  int64_t compared = 0;
  double worst = 0;  // error, in units of the tolerance
  bool right = true;
};

/// narrow: products may be those of bfloat16.
template <typename Real>
void check(const Target& target, const Kernels<Real>* kernels, const char* cell, bool projected, const Shape& shape,
           const Variant& variant, bool reverse, bool narrow, Verdict& verdict) {
  const int64_t T = shape.T, N = shape.N, I = shape.I, H = shape.H;
  const std::string what = std::string(target.name) + ", " + cell + (projected ? " with a projection" : "") + ", " +
                           kName<Real> + (narrow ? " by bfloat16" : "") + ", T " + std::to_string(T) + ", N " +
                           std::to_string(N) + ", I " + std::to_string(I) + ", H " + std::to_string(H) + ", variant " +
                           std::to_string(&variant - kVariants) + (reverse ? ", reverse" : "");
  const auto wrong = [&](const std::string& why) {
    std::printf("%s: %s\n", what.c_str(), why.c_str());
    verdict.right = false;
  };
  if (!kernels) return wrong("there is no such cell");

  std::mt19937 random(20);
  const int64_t P = projected ? (H + 2) / 3 : H, G = kernels->gates;
  const Groups rows(shape, variant, random);
  const bool packed = variant.order == Order::kPacked;
  const int64_t tokens = packed ? std::accumulate(rows.lengths.begin(), rows.lengths.end(), int64_t{0}) : T * N;
  const double scale = 1 / std::sqrt(double(H));
  const auto given = [&](int64_t size, bool present = true) {
    return Numbers<Real>(size, present).random(random, scale);
  };
  const auto sequence = [&]<typename R>(R* data, int64_t width) -> Sequence<R> {
    if (packed) return {data, 0, width, rows.first_row.data()};
    if (variant.order == Order::kTimeFirst) return {data, N * width, width, nullptr};
    return {data, width, T * width, nullptr};
  };
  /// Random numbers for the real tokens, NaN for the padding, which nobody may read.
  const auto given_sequence = [&](int64_t width, bool present = true) {
    Numbers<Real> numbers(tokens * width, present);
    if (present)
      for (int64_t n = 0; n < N; ++n)
        for (int64_t t = 0; t < rows.lengths[n]; ++t)
          for (int64_t i = 0; i < width; ++i)
            sequence(numbers.data(), width).at(t, n)[i] = nearest<Real>(random() / 2147483648.0 - 1);
    return numbers;
  };

  const Numbers<Real> w_ih = given(G * H * I), w_hh = given(G * H * P), w_hr = given(P * H, projected);
  const Numbers<Real> b_ih = given(G * H, variant.bias), b_hh = given(G * H, variant.bias);
  const Numbers<Real> h0 = given(N * P), c0 = given(N * H, kernels->has_c), input = given_sequence(I);
  Layer<Real> layer{};
  layer.T = T;
  layer.N = N;
  layer.I = I;
  layer.H = H;
  layer.P = P;
  layer.reverse = reverse;
  layer.w_ih = w_ih.data();
  layer.w_hh = w_hh.data();
  layer.w_hr = w_hr.data();
  layer.b_ih = b_ih.data();
  layer.b_hh = b_hh.data();
  layer.input = sequence(static_cast<const Real*>(input.data()), I);
  layer.h0 = h0.data();
  layer.c0 = c0.data();

  /// Calls sweep(member) as one thread or as a team; it returns the name of the target that ran.
  const auto run = [&](const char* pass, const auto& sweep) {
    const auto check_name = [&](const char* name) {
      if (std::strcmp(name, target.name) != 0) wrong(std::string("another target ran ") + pass);
    };
    if (!variant.team) return check_name(sweep(nullptr));
    Team team;
    const char* names[kThreads];
    std::vector<std::thread> threads;
    for (const char*& name : names)
      threads.emplace_back([&] {
        Member member(team);
        name = sweep(&member);
      });
    for (std::thread& thread : threads) thread.join();
    for (const char* name : names) check_name(name);
  };

  // The forward pass, with and without what a backward pass needs; the second run is the one that it goes on from.
  const bool keeps_all = kernels->saved > 0 && !variant.recompute, keeps_cells = kernels->has_c && variant.recompute;
  const Numbers<Real> reserve(tokens * kernels->saved * H, keeps_all), cells(tokens * H, keeps_cells);
  Forward<Real> f{};
  static_cast<Layer<Real>&>(f) = layer;
  f.once = rows.groups.size() == 1 && tokens <= kGroupRows;
  struct Outputs {
    Numbers<Real> output, h_n, c_n;
  };
  const auto forward = [&](Real* kept, Real* kept_cells) {
    Outputs out{Numbers<Real>(tokens * P), Numbers<Real>(N * P), Numbers<Real>(N * H, kernels->has_c)};
    f.output = sequence(out.output.data(), P);
    f.h_n = out.h_n.data();
    f.c_n = out.c_n.data();
    f.reserve = sequence(kept, kernels->saved * H);
    f.cells = sequence(kept_cells, H);
    const Numbers<Work<Real>> weights(kernels->forward_weights_size(f));
    for (int part = 0; part < kParts; ++part) kernels->pack_forward(f, weights.data(), part, kParts);
    for (const RowGroup& group : rows.groups) {
      const Numbers<Work<Real>> scratch(kernels->forward_scratch_size(f));
      run("forward",
          [&](Member* member) { return kernels->forward(f, weights.data(), group, scratch.data(), member); });
      if (!scratch.margin_is_untouched()) wrong("forward wrote outside of the scratch");
    }
    if (!weights.margin_is_untouched()) wrong("pack_forward wrote outside of the weights");
    return out;
  };
  const Outputs inference = forward(nullptr, nullptr), training = forward(reserve.data(), cells.data());

  const Numbers<Real> grad_output = given_sequence(P, variant.grad_output), grad_h_n = given(N * P, variant.grad_last);
  const Numbers<Real> grad_c_n = given(N * H, variant.grad_last && kernels->has_c);
  const Numbers<Real> grad_input(tokens * I, variant.grad_input), grad_h0(N * P), grad_c0(N * H, kernels->has_c);
  const Numbers<Real> grad_w_ih(G * H * I), grad_w_hh(G * H * P), grad_w_hr(P * H, projected);
  const Numbers<Real> grad_b_ih(G * H), grad_b_hh(G * H);
  Backward<Real> b{};
  static_cast<Layer<Real>&>(b) = layer;
  b.output = sequence(static_cast<const Real*>(training.output.data()), P);
  b.reserve = sequence(static_cast<const Real*>(reserve.data()), kernels->saved * H);
  b.cells = sequence(static_cast<const Real*>(cells.data()), H);
  b.grad_output = sequence(static_cast<const Real*>(grad_output.data()), P);
  b.grad_h_n = grad_h_n.data();
  b.grad_c_n = grad_c_n.data();
  b.grad_input = sequence(grad_input.data(), I);
  b.grad_h0 = grad_h0.data();
  b.grad_c0 = grad_c0.data();
  b.grad_w_ih = grad_w_ih.data();
  b.grad_w_hh = grad_w_hh.data();
  b.grad_w_hr = grad_w_hr.data();
  b.grad_b_ih = grad_b_ih.data();
  b.grad_b_hh = grad_b_hh.data();
  b.alone = rows.groups.size() == 1;
  const Numbers<Work<Real>> weights(kernels->backward_weights_size(b));
  for (int part = 0; part < kParts; ++part) kernels->pack_backward(b, weights.data(), part, kParts);
  if (!weights.margin_is_untouched()) wrong("pack_backward wrote outside of the weights");
  std::vector<Numbers<Work<Real>>> memory;
  std::vector<Work<Real>*> scratch;
  for (int thread = 0; thread < kThreads; ++thread) {
    memory.push_back(Numbers<Work<Real>>(kernels->backward_scratch_size(b, variant.team)));
    std::fill_n(memory.back().data(), kernels->backward_zeros(b), Work<Real>(0));
    scratch.push_back(memory.back().data());
  }
  for (size_t group = 0; group < rows.groups.size(); ++group)
    run("backward", [&](Member* member) {
      return kernels->backward(b, weights.data(), rows.groups[group], scratch[group % kThreads], member);
    });
  for (int part = 0; part < kParts; ++part) kernels->reduce(b, scratch.data(), kThreads, part, kParts);
  for (const Numbers<Work<Real>>& numbers : memory)
    if (!numbers.margin_is_untouched()) wrong("backward wrote outside of the scratch");

  Results right;
  const struct {
    const char* name;
    Vector& expected;
    std::vector<const Numbers<Real>*> actual;
  } results[] = {{"output", right.output, {&inference.output, &training.output}},
                 {"h_n", right.h_n, {&inference.h_n, &training.h_n}},
                 {"c_n", right.c_n, {&inference.c_n, &training.c_n}},
                 {"grad_input", right.grad_input, {&grad_input}},
                 {"grad_h0", right.grad_h0, {&grad_h0}},
                 {"grad_c0", right.grad_c0, {&grad_c0}},
                 {"grad_w_ih", right.grad_w_ih, {&grad_w_ih}},
                 {"grad_w_hh", right.grad_w_hh, {&grad_w_hh}},
                 {"grad_w_hr", right.grad_w_hr, {&grad_w_hr}},
                 {"grad_b_ih", right.grad_b_ih, {&grad_b_ih}},
                 {"grad_b_hh", right.grad_b_hh, {&grad_b_hh}}};
  for (const auto& result : results) result.expected.assign(result.actual[0]->size(), 0);
  // Of few numbers the errors are not small beside their sum.
  const double tolerance = narrow || sizeof(Real) == 2 ? kTolerance<BFloat16> * (H == 1 ? 4 : 1) : kTolerance<Real>;
  const PlainLayer<Real> plain(cell, G, f, b);
  for (int64_t n = 0; n < N; ++n) plain.run(n, rows.lengths[n], right);
  for (const auto& result : results)
    for (const Numbers<Real>* numbers : result.actual) {
      if (!numbers->margin_is_untouched()) wrong(std::string("something was written outside of ") + result.name);
      const double error = distance(*numbers, result.expected, tolerance);
      if (!(error <= 1)) wrong(std::string(result.name) + " is wrong by " + std::to_string(error) + " tolerances");
      verdict.worst = std::max(verdict.worst, error);
      verdict.compared += numbers->size() > 0;
    }
}

/// Time steps of the pooled pass, enough for sums of sums.
constexpr int64_t kTokens = 37;

/// From token ids to pooled hidden states. Going backward there are wide ids, the tokens stand behind the padding, and
/// there is no bias. The padding is a word of its own, and NaN.
template <typename Real>
void check_pooled(const Target& target, const Kernels<Real>* kernels, const char* cell, const Shape& shape,
                  bool reverse, Verdict& verdict) {
  const int64_t T = kTokens, N = shape.N, H = shape.H, G = kernels->gates, V = 9, width = G * H;
  const auto wrong = [&](const std::string& why) {
    std::printf("%s, %s, float%d, pooled, N %d, H %d%s: %s\n", target.name, cell, int(8 * sizeof(Real)), int(N), int(H),
                reverse ? ", reverse" : "", why.c_str());
    verdict.right = false;
  };
  std::mt19937 random(21);
  const Groups rows({T, N, 1, H}, kVariants[1], random);  // of different lengths
  const Numbers<Real> table = Numbers<Real>(V * width).random(random, 1);
  std::fill_n(table.data() + (V - 1) * width, width, nearest<Real>(std::numeric_limits<double>::quiet_NaN()));
  const Numbers<Real> w_hh = Numbers<Real>(G * H * H).random(random, 1 / std::sqrt(double(H)));
  const Numbers<Real> b_hh = Numbers<Real>(G * H, !reverse).random(random, 1);
  std::vector<int64_t> wide_ids(N * T, V - 1);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t t = 0; t < rows.lengths[n]; ++t)
      wide_ids[n * T + (reverse ? T - rows.lengths[n] : 0) + t] = random() % (V - 1);
  const std::vector<int32_t> ids(wide_ids.begin(), wide_ids.end());

  const Numbers<Work<Real>> mean(N * H), max(N * H), last(N * H);
  Pooled<Real> p{};
  p.T = T;
  p.N = N;
  p.H = p.P = H;
  p.reverse = p.padding_before = reverse;
  p.w_hh = w_hh.data();
  p.b_hh = b_hh.data();
  p.ids = reverse ? nullptr : ids.data();
  p.wide_ids = reverse ? wide_ids.data() : nullptr;
  p.table = table.data();
  p.table_stride = width;
  p.mean = mean.data();
  p.max = max.data();
  p.last = last.data();
  const Numbers<Work<Real>> weights(kernels->pooled_weights_size(p));
  for (int part = 0; part < kParts; ++part) kernels->pack_pooled(p, weights.data(), part, kParts);
  if (!weights.margin_is_untouched()) wrong("pack_pooled wrote outside of the weights");
  for (const RowGroup& group : rows.groups) {
    const Numbers<Work<Real>> scratch(kernels->pooled_scratch_size(p));
    if (std::strcmp(kernels->pooled(p, weights.data(), group, scratch.data()), target.name) != 0)
      wrong("another target ran");
    if (!scratch.margin_is_untouched()) wrong("something was written outside of the scratch");
  }

  // The same as a layer whose input are the rows of the table, so that W_ih is the identity.
  std::vector<Real> identity(G * H * G * H, nearest<Real>(0));
  for (int64_t j = 0; j < G * H; ++j) identity[j * G * H + j] = nearest<Real>(1);
  Forward<Real> f{};
  static_cast<Layer<Real>&>(f) = p;
  f.I = G * H;
  f.w_ih = identity.data();
  Vector right_mean(N * H), right_max(N * H, -std::numeric_limits<double>::infinity()), right_last;
  for (int64_t n = 0; n < N; ++n) {
    const int64_t length = rows.lengths[n];
    Vector h(H), c(H);
    for (int64_t s = 0; s < length; ++s) {
      const int64_t place = n * T + (reverse ? T - 1 - s : s);
      const Real* word = table.data() + wide_ids[place] * width;
      f.input = {word, 0, 0, nullptr};
      PlainLayer<Real>(cell, G, f, {}).forward(0, 0, h, c);
      for (int64_t u = 0; u < H; ++u) {
        right_mean[n * H + u] += h[u] / length;
        right_max[n * H + u] = std::max(right_max[n * H + u], h[u]);
      }
    }
    right_last.insert(right_last.end(), h.begin(), h.end());
  }
  const struct {
    const char* name;
    const Vector& expected;
    const Numbers<Work<Real>>& actual;
  } results[] = {{"mean", right_mean, mean}, {"max", right_max, max}, {"last", right_last, last}};
  for (const auto& result : results) {
    if (!result.actual.margin_is_untouched()) wrong(std::string("something was written outside of ") + result.name);
    const double error = distance(result.actual, result.expected, kTolerance<Real>);
    if (!(error <= 1)) wrong(std::string(result.name) + " is wrong by " + std::to_string(error) + " tolerances");
    verdict.worst = std::max(verdict.worst, error);
    ++verdict.compared;
  }
}

/// Targets that are for bfloat16 compute all else as another one does, which is checked by itself.
Verdict check(const Target& target) {
  const bool shares_f32 = target.f32_narrow;
  Verdict verdict;
  for (const auto& cell : kCells)
    for (const Shape& shape : kShapes)
      for (bool reverse : {false, true}) {
        if (cell.projected) continue;
        check_pooled<BFloat16>(target, target.bf16(cell.name), cell.name, shape, reverse, verdict);
        if (shares_f32) continue;
        check_pooled<float>(target, target.f32(cell.name), cell.name, shape, reverse, verdict);
        check_pooled<double>(target, target.f64(cell.name), cell.name, shape, reverse, verdict);
      }
  for (const auto& cell : kCells)
    for (const Shape& shape : kShapes)
      for (const Variant& variant : kVariants)
        for (bool reverse : {false, true}) {
          if (variant.alone != shape.alone) continue;
          const auto run = [&](const auto* kernels, bool narrow) {
            check(target, kernels, cell.name, cell.projected, shape, variant, reverse, narrow, verdict);
          };
          if (!shares_f32) run(target.f32(cell.name), false);
          if (!shares_f32) run(target.f64(cell.name), false);
          run(target.bf16(cell.name), false);
          if (target.f32_narrow) run(target.f32_narrow(cell.name), true);
        }
  return verdict;
}

/// Targets that have nothing else of their own: check_int8.cpp checks them.
bool is_for_int8(const char* name) { return std::strstr(name, "vnni") || std::strstr(name, "dotprod"); }

}  // namespace

int main() {
  bool right = true;
  for (const Target* target : targets()) {
    if (!target->available() || is_for_int8(target->name)) continue;
    const Verdict verdict = check(*target);
    std::printf("%s: %s, %lld arrays compared, largest error %.2f of the tolerance\n", target->name,
                verdict.right ? "right" : "WRONG", static_cast<long long>(verdict.compared), verdict.worst);
    right = right && verdict.right;
  }
  return right ? 0 : 1;
}
