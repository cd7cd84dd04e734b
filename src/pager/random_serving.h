// A property test of the pager: a simulated guest touches, writes and gives back its memory at
// random, while it is served; every page is compared with a plain array of pages.
#pragma once

#include <cstdint>
#include <string>

namespace lamina::pager {

struct RandomServing {
  std::uint64_t seed = 0;
  bool populates = false;      ///< by a random plan, to its end
  bool reads_ahead = false;    ///< with a PlanReader
  bool kills_servers = false;  ///< at random system calls; a successor continues
};

/// Returns what is wrong with a page or the end of the serving; empty if nothing is.
std::string serve_at_random(const RandomServing& serving);

}  // namespace lamina::pager
