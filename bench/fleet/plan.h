// What happens to a fleet of sandboxes in a day: who is born from whom, who is paused when, who is
// deleted. The plan depends on the seed alone, so that every policy is given the same day.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "mapping/guest_writes.h"

namespace lamina::bench::fleet {

using Random = std::mt19937_64;

enum class Birth : std::uint8_t {
  kFromTemplate,  ///< a fork of the family's template
  kFromSandbox,   ///< a fork of a sandbox of the family that lives
  kBooted,        ///< a first, full pause of its own
};

enum class Deed : std::uint8_t { kBirth, kPause, kDeath };

struct Sandbox {
  Birth birth = Birth::kFromTemplate;
  const mapping::GuestShape* shape = nullptr;
  std::uint32_t pauses = 0;
};

/// Something that happens at a time of the day, 0 to 1.
struct Event {
  double time = 0;
  std::uint32_t sandbox = 0;  ///< index in Family::sandboxes
  Deed deed = Deed::kBirth;
};

/// Sandboxes that have one template.
struct Family {
  std::vector<Sandbox> sandboxes;
  std::vector<Event> events;  ///< by time
  std::uint64_t seed = 0;     ///< of what its guests write
};

/// The number of pauses of a sandbox that has more than the share `quantile` of a fleet: log-linear
/// in the normal deviate through the published 5 (half), 191 (90 %) and 2,314 (99 %); at most
/// `most`.
std::uint32_t generations_at(double quantile, std::uint32_t most);

/// `count` sandboxes in `families` families. Their generations follow generations_at() exactly:
/// the seed only says which sandbox has which.
std::vector<Family> plan_day(std::size_t count, std::size_t families,
                             std::uint32_t most_generations, std::uint64_t seed);

}  // namespace lamina::bench::fleet
