// Holds the int8 kernels of every target that this machine has against plain loops over the same bytes, without torch.
//
// Compile it with csrc/cpu/targets.cpp, csrc/cpu/team.cpp and csrc/cpu/targets/*.cpp. One line for each target; exit
// code 1 if one is wrong. Letters and layouts as in cpu/layer.h and cpu/int8/layout.h.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "cpu/int8/layout.h"
#include "cpu/targets.h"

namespace {

using namespace rnnfast::cpu;

struct Shape {
  int64_t T, N, I, H;
};
constexpr Shape kShapes[] = {{3, 5, 1, 2}, {4, 1, 65, 131}, {5, 13, 3, 63}, {3, 96, 70, 17}, {9, 17, 130, 48}};

/// The gates of W_ih and W_hh that each sum has; -1: none.
struct CellGates {
  const char* name;
  bool projected;
  std::vector<int> x_gate, h_gate;
};
const CellGates kCells[] = {{"rnn_tanh", false, {0}, {0}},
                            {"rnn_relu", false, {0}, {0}},
                            {"gru", false, {0, 1, 2, -1}, {0, 1, -1, 2}},
                            {"lstm", false, {0, 1, 2, 3}, {0, 1, 2, 3}},
                            {"lstm", true, {0, 1, 2, 3}, {0, 1, 2, 3}}};

/// A matrix of bytes with a scale for each row.
struct Matrix {
  int64_t rows, depth;
  std::vector<int8_t> bytes;
  std::vector<float> scale;

  Matrix(int64_t rows, int64_t depth, std::mt19937& random) : rows(rows), depth(depth) {
    for (int64_t i = 0; i < rows * depth; ++i) bytes.push_back(static_cast<int8_t>(random() % 255 - 127));
    for (int64_t i = 0; i < rows; ++i) scale.push_back(float(random() % 100 + 50) / 1e4f / std::sqrt(float(depth)));
  }

  int offset(int64_t row) const {
    return -128 * std::accumulate(bytes.begin() + row * depth, bytes.begin() + (row + 1) * depth, 0);
  }

  /// The words of 16 rows from `first` on, of the block of rows that ends at `end`.
  void put_words(std::vector<uint8_t>& to, int64_t first, int64_t end) const {
    for (int64_t word = 0; word < int8::words_for(depth); ++word)
      for (int64_t unit = 0; unit < int8::kUnits; ++unit)
        for (int64_t k = word * int8::kWordBytes; k < (word + 1) * int8::kWordBytes; ++k)
          to.push_back(first + unit < end && k < depth ? bytes[(first + unit) * depth + k] : 0);
  }

  /// What the bytes of a row, times its scale, give.
  double product(int64_t row, const std::vector<int>& x, double x_scale) const {
    int64_t sum = 0;
    for (int64_t k = 0; k < depth; ++k) sum += bytes[row * depth + k] * x[k];
    return static_cast<double>(sum) * x_scale * scale[row];
  }
};

template <typename Number>
void put(std::vector<uint8_t>& to, int64_t first, int64_t end, const Number& number) {
  for (int64_t unit = first; unit < first + int8::kUnits; ++unit) {
    const auto value = unit < end ? number(unit) : decltype(number(unit))(0);
    uint8_t bytes[4];
    static_assert(sizeof value == sizeof bytes);
    std::memcpy(bytes, &value, sizeof bytes);
    to.insert(to.end(), bytes, bytes + sizeof bytes);
  }
}

/// The bytes of a row, and their scale.
double quantize(std::vector<int>& to, const float* from, int64_t size, float largest) {
  to.resize(size);
  for (int64_t i = 0; i < size; ++i)
    to[i] = largest < 1e-30f ? 0 : static_cast<int>(std::nearbyint(from[i] * (127 / largest)));
  return largest / 127;
}

float largest_of(const float* from, int64_t size) {
  float largest = 0;
  for (int64_t i = 0; i < size; ++i) largest = std::max(largest, std::abs(from[i]));
  return largest;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Verdict {
  bool right = true;
  int compared = 0;
  double worst = 0;
};

void check(const Target& target, const CellGates& cell, const Shape& shape, bool reverse, Verdict& verdict) {
  // Not by a structured binding, which no lambda may capture before C++20's clang 16.
  const int64_t T = shape.T, N = shape.N, I = shape.I, H = shape.H;
  const std::string name = cell.name;
  const int64_t P = cell.projected ? (H + 1) / 2 : H, G = *std::max_element(cell.x_gate.begin(), cell.x_gate.end()) + 1;
  const bool has_c = name == "lstm", dynamic = name == "rnn_relu" || cell.projected;
  std::mt19937 random(7);
  const auto wrong = [&](const std::string& why) {
    std::printf("%s, %s%s, T %d, N %d, I %d, H %d%s: %s\n", target.name, cell.name, cell.projected ? " projected" : "",
                int(T), int(N), int(I), int(H), reverse ? ", reverse" : "", why.c_str());
    verdict.right = false;
  };
  const auto numbers = [&](int64_t size, float scale) {
    std::vector<float> all(size);
    for (float& each : all) each = scale * (random() / 2147483648.0f - 1);
    return all;
  };
  const Matrix w_ih(G * H, I, random), w_hh(G * H, P, random), w_hr(P, H, random);
  const std::vector<float> bias = numbers(int64_t(cell.x_gate.size()) * H, 0.5f);
  std::vector<uint8_t> packed;
  for (int64_t first = 0; first < H; first += int8::kUnits)
    for (size_t s = 0; s < cell.x_gate.size(); ++s) {
      const int64_t x = cell.x_gate[s] * H, h = cell.h_gate[s] * H;
      put(packed, first, H, [&](int64_t unit) { return bias[s * H + unit]; });
      put(packed, first, H, [&](int64_t unit) { return x < 0 ? 0.0f : w_ih.scale[x + unit]; });
      put(packed, first, H, [&](int64_t unit) { return h < 0 ? 0.0f : w_hh.scale[h + unit]; });
      put(packed, first, H, [&](int64_t unit) { return x < 0 ? 0 : w_ih.offset(x + unit); });
      put(packed, first, H, [&](int64_t unit) { return h < 0 ? 0 : w_hh.offset(h + unit); });
      if (x >= 0) w_ih.put_words(packed, x + first, x + H);
      if (h >= 0) w_hh.put_words(packed, h + first, h + H);
    }
  for (int64_t first = 0; cell.projected && first < P; first += int8::kUnits) {
    put(packed, first, P, [&](int64_t unit) { return w_hr.scale[unit]; });
    put(packed, first, P, [&](int64_t unit) { return w_hr.offset(unit); });
    w_hr.put_words(packed, first, P);
  }
  packed.resize(packed.size() + int8::kMargin);

  const std::vector<float> input = numbers(T * N * I, 2), h0 = numbers(N * P, 2), c0 = numbers(N * H, 1);
  std::vector<float> output(T * N * P, NAN), h_n(N * P, NAN), c_n(N * H, NAN);
  std::vector<int64_t> index(N), length(N);
  std::iota(index.begin(), index.end(), 0);
  for (int64_t n = 0; n < N; ++n) length[n] = std::max<int64_t>(1, T - n * T / N);  // falling
  Forward<float> f{};
  f.T = T;
  f.N = N;
  f.I = I;
  f.H = H;
  f.P = P;
  f.reverse = reverse;
  f.w_hr = cell.projected ? h0.data() : nullptr;
  f.input = {input.data(), N * I, I, nullptr};
  f.h0 = h0.data();
  f.c0 = has_c ? c0.data() : nullptr;
  f.output = {output.data(), N * P, P, nullptr};
  f.h_n = h_n.data();
  f.c_n = has_c ? c_n.data() : nullptr;
  const Kernels<float>* kernels = target.int8(cell.name);
  if (kernels->forward_weights_size(f) * int64_t(sizeof(float)) != int64_t(packed.size()))
    return wrong("the weights have another size");
  std::vector<float> scratch(kernels->forward_scratch_size(f) + 16, NAN), aligned(packed.size() / sizeof(float) + 16);
  const auto at_64 = [](std::vector<float>& memory) {
    return memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64 / sizeof(float);
  };
  std::memcpy(at_64(aligned), packed.data(), packed.size());
  const char* ran = kernels->forward(f, at_64(aligned), {index.data(), length.data(), N}, at_64(scratch), nullptr);
  const bool vnni = std::strcmp(target.name, "avx512_bf16") == 0;
  if (std::strcmp(ran, vnni ? "avx512_vnni" : target.name) != 0) wrong(std::string("another target ran: ") + ran);

  double worst = 0;
  for (int64_t n = 0; n < N; ++n) {
    std::vector<float> h(h0.begin() + n * P, h0.begin() + (n + 1) * P), wide(H);
    std::vector<double> c(c0.begin() + n * H, c0.begin() + (n + 1) * H);
    const float first = std::max(1.0f, largest_of(h.data(), P));
    for (int64_t step = 0; step < T; ++step) {
      const int64_t t = reverse ? length[n] - 1 - step : step;
      if (step >= length[n]) {
        for (int64_t unit = 0; unit < P; ++unit)
          if (output[(step * N + n) * P + unit] != 0) return wrong("the padding is not zero");
        continue;
      }
      const float* x = input.data() + (t * N + n) * I;
      std::vector<int> x_bytes, h_bytes;
      const double x_scale = quantize(x_bytes, x, I, largest_of(x, I));
      const float bound = dynamic ? largest_of(h.data(), P) : name == "gru" || step == 0 ? first : 1;
      const double h_scale = quantize(h_bytes, h.data(), P, bound);
      for (int64_t unit = 0; unit < H; ++unit) {
        double z[4];
        for (size_t s = 0; s < cell.x_gate.size(); ++s) {
          z[s] = bias[s * H + unit];
          if (cell.x_gate[s] >= 0) z[s] += w_ih.product(cell.x_gate[s] * H + unit, x_bytes, x_scale);
          if (cell.h_gate[s] >= 0) z[s] += w_hh.product(cell.h_gate[s] * H + unit, h_bytes, h_scale);
        }
        if (name == "rnn_tanh") wide[unit] = static_cast<float>(std::tanh(z[0]));
        if (name == "rnn_relu") wide[unit] = static_cast<float>(std::max(z[0], 0.0));
        if (name == "gru") {
          const double r = sigmoid(z[0]), keep = sigmoid(z[1]), next = std::tanh(z[2] + r * z[3]);
          wide[unit] = static_cast<float>(next + keep * (h[unit] - next));
        }
        if (name == "lstm") {
          c[unit] = sigmoid(z[1]) * c[unit] + sigmoid(z[0]) * std::tanh(z[2]);
          wide[unit] = static_cast<float>(sigmoid(z[3]) * std::tanh(c[unit]));
        }
      }
      if (cell.projected) {
        std::vector<int> bytes;
        const double scale = quantize(bytes, wide.data(), H, largest_of(wide.data(), H));
        for (int64_t unit = 0; unit < P; ++unit) h[unit] = static_cast<float>(w_hr.product(unit, bytes, scale));
      } else {
        h = wide;
      }
      for (int64_t unit = 0; unit < P; ++unit)
        worst = std::max(worst, std::abs(double(output[(t * N + n) * P + unit]) - h[unit]));
    }
    for (int64_t unit = 0; unit < P; ++unit) worst = std::max(worst, std::abs(double(h_n[n * P + unit]) - h[unit]));
    for (int64_t unit = 0; has_c && unit < H; ++unit)
      worst = std::max(worst, std::abs(double(c_n[n * H + unit]) - c[unit]));
  }
  // Activations are right to 11 bits, so a byte may be rounded to its neighbour.
  constexpr double kTolerance = 0.01;
  if (!(worst <= kTolerance)) wrong("wrong by " + std::to_string(worst));
  verdict.worst = std::max(verdict.worst, worst / kTolerance);
  ++verdict.compared;
}

}  // namespace

int main() {
  bool right = true;
  for (const Target* target : targets()) {
    if (!target->available()) continue;
    Verdict verdict;
    for (const CellGates& cell : kCells)
      for (const Shape& shape : kShapes)
        for (bool reverse : {false, true}) check(*target, cell, shape, reverse, verdict);
    std::printf("%s: %s, %d layers compared, largest error %.2f of the tolerance\n", target->name,
                verdict.right ? "right" : "WRONG", verdict.compared, verdict.worst);
    right = right && verdict.right;
  }
  return right ? 0 : 1;
}
