#include "cpu/targets.h"

#include <cstdlib>
#include <stdexcept>

namespace rnnfast::cpu {

namespace {

// Best first.
const Target* const kTargets[] = {
#if defined(__x86_64__)
    &kAmx,     &kAvx512Bf16,  &kAvx512Vnni, &kAvx512, &kAvxVnni, &kAvx2,
#elif defined(__aarch64__)
    &kNeonDotprod, &kNeon,
#endif
    &kGeneric, &kAmxEmulated,
};

bool preferred(const Target& target) { return !target.preferred || target.preferred(); }

const Target& choose() {
  const char* forced = std::getenv("RNNFAST_CPU_TARGET");
  const bool any = !forced || !*forced;
  for (const Target* candidate : kTargets)
    if (candidate->available() && (any ? preferred(*candidate) : std::string(forced) == candidate->name))
      return *candidate;
  throw std::runtime_error("RNNFAST_CPU_TARGET must be one of the targets that this machine has (" +
                           available_targets() + "), got: " + forced);
}

}  // namespace

std::span<const Target* const> targets() { return kTargets; }

const Target& target() {
  static const Target& chosen = choose();
  return chosen;
}

std::string available_targets() {
  std::string names;
  for (const bool wanted : {true, false})
    for (const Target* candidate : kTargets)
      if (candidate->available() && preferred(*candidate) == wanted)
        names += (names.empty() ? "" : ", ") + std::string(candidate->name);
  return names;
}

}  // namespace rnnfast::cpu
