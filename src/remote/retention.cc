#include "remote/retention.h"

#include <algorithm>
#include <ranges>
#include <set>

namespace lamina::remote {

std::vector<std::uint64_t> states_to_drop(const std::vector<DatedState>& states,
                                          const RetentionRules& rules,
                                          std::chrono::sys_seconds now) {
  std::vector<std::uint64_t> dropped;
  if (rules.is_empty()) return dropped;
  std::set<std::chrono::sys_days> days;
  std::uint64_t seen = 0;
  for (const DatedState& state : std::views::reverse(states)) {
    const auto day = std::chrono::floor<std::chrono::days>(state.stored);
    const bool is_newest_of_day = !days.contains(day) && days.size() < rules.keep_daily.value_or(0);
    days.insert(day);
    const bool is_recent = rules.keep_within && now - state.stored <= *rules.keep_within;
    const bool is_kept =
        seen == 0 || seen < rules.keep_last.value_or(0) || is_newest_of_day || is_recent;
    ++seen;
    if (!is_kept) dropped.push_back(state.number);
  }
  std::ranges::reverse(dropped);
  return dropped;
}

bool matches_pattern(std::string_view name, std::string_view pattern) {
  // The last '*' takes one character more whenever the rest does not match.
  std::size_t at = 0;
  std::size_t in_pattern = 0;
  std::size_t star = std::string_view::npos;
  std::size_t taken = 0;
  while (at < name.size()) {
    if (in_pattern < pattern.size() && pattern[in_pattern] == '*') {
      star = in_pattern++;
      taken = at;
    } else if (in_pattern < pattern.size() &&
               (pattern[in_pattern] == '?' || pattern[in_pattern] == name[at])) {
      ++in_pattern;
      ++at;
    } else if (star != std::string_view::npos) {
      in_pattern = star + 1;
      at = ++taken;
    } else {
      return false;
    }
  }
  while (in_pattern < pattern.size() && pattern[in_pattern] == '*') ++in_pattern;
  return in_pattern == pattern.size();
}

}  // namespace lamina::remote
