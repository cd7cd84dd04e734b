#include "server/log_limiter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace lamina::server {
namespace {

/// Of a line that has text of another process in it.
constexpr std::size_t kMaxKindBytes = 256;

}  // namespace

std::string LogLimiter::kind_of(const std::string& line) const {
  std::string kind;
  bool in_quotes = false;
  for (const char one : line) {
    if (kind.size() >= kMaxKindBytes) break;
    if (one == '\'') in_quotes = !in_quotes;
    if (in_quotes && one != '\'') continue;
    const bool is_number = std::isdigit(static_cast<unsigned char>(one)) != 0;
    if (is_number && kind.ends_with('#')) continue;
    kind += is_number ? '#' : one;
  }
  return kinds_.size() < kMaxKinds || kinds_.contains(kind) ? kind : std::string();
}

void LogLimiter::say(const std::string& line, Clock::time_point now) {
  write_counts(now);
  const auto [found, is_new] = kinds_.try_emplace(kind_of(line));
  Kind& kind = found->second;
  if (is_new) kind.since = now;
  if (!kind.flooded && kind.written < kAtOnce) {
    ++kind.written;
    if (write_) write_(line);
    return;
  }
  ++kind.held_back;
  kind.last = line;
}

void LogLimiter::write_counts(Clock::time_point now) {
  for (auto one = kinds_.begin(); one != kinds_.end();) {
    Kind& kind = one->second;
    if (now - kind.since < kPeriod) {
      ++one;
      continue;
    }
    if (kind.held_back == 0) {
      one = kinds_.erase(one);
      continue;
    }
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - kind.since);
    if (write_) {
      write_(kind.held_back == 1 ? kind.last
                                 : fmt::format("{} ({} more like this in the last {} s)", kind.last,
                                               kind.held_back - 1, seconds.count()));
    }
    kind = Kind{now, 0, 0, true, {}};
    ++one;
  }
}

int LogLimiter::due_ms(Clock::time_point now) const {
  int due_ms = -1;
  for (const auto& [name, kind] : kinds_) {
    if (kind.held_back == 0) continue;
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(kind.since + kPeriod - now);
    const int left_ms = static_cast<int>(std::max<std::int64_t>(left.count(), 0)) + 1;
    due_ms = due_ms < 0 ? left_ms : std::min(due_ms, left_ms);
  }
  return due_ms;
}

}  // namespace lamina::server
