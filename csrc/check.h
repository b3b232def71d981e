// What an op checks: the sentence is all that a caller sees.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace rnnfast {

template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream sentence;
  sentence << "rnnfast: ";
  (sentence << ... << parts);
  throw std::runtime_error(sentence.str());
}

}  // namespace rnnfast

/// Refuses a call unless the condition holds. Torch's own macro would put the path of this file before the sentence.
#define RNNFAST_CHECK(condition, ...)                 \
  do {                                                \
    if (!(condition)) ::rnnfast::refuse(__VA_ARGS__); \
  } while (false)
