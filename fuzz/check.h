// What must hold of a fuzz target's input.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <source_location>

namespace lamina::fuzz {

/// Says where it is that something does not hold, and ends the process.
inline void check(bool holds, std::source_location where = std::source_location::current()) {
  if (holds) return;
  std::fprintf(stderr, "%s:%u: this does not hold\n", where.file_name(), where.line());
  std::abort();
}

}  // namespace lamina::fuzz
