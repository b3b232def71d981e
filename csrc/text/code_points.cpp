#include "text/code_points.h"

namespace rnnfast::text {
namespace {

struct Range {
  char32_t first, last, step;
  Kind kind;
  int32_t distance;
};

constexpr Range kRanges[] = {
#include "text/code_points.inc"
};

}  // namespace

Rules::Rules() : rules_{} {
  for (const Range& range : kRanges) {
    for (char32_t code = range.first; code <= range.last; code += range.step) {
      rules_[code].distance = range.distance;
      rules_[code].kind = static_cast<uint8_t>(range.kind);
    }
  }
}

const Rules kRules;

}  // namespace rnnfast::text
