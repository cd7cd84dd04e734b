// Which older states of a name are kept.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace lamina::remote {

struct RetentionRules {
  std::optional<std::uint64_t> keep_last{};  ///< the newest n
  std::optional<std::uint64_t>
      keep_daily{};  ///< the newest of each of the last n days that have one
  std::optional<std::chrono::seconds> keep_within{};

  [[nodiscard]] bool is_empty() const { return !keep_last && !keep_daily && !keep_within; }
};

/// A manifest, by when it was stored.
struct DatedState {
  std::uint64_t number = 0;
  std::chrono::sys_seconds stored;
};

/// The numbers of the states that no rule keeps. `states` are those of one name, in order; the
/// newest is always kept, and without rules all are. Days are days of UTC.
std::vector<std::uint64_t> states_to_drop(const std::vector<DatedState>& states,
                                          const RetentionRules& rules,
                                          std::chrono::sys_seconds now);

/// True if `name` matches the shell pattern: '*' and '?' stand for any characters, including '.'.
bool matches_pattern(std::string_view name, std::string_view pattern);

}  // namespace lamina::remote
