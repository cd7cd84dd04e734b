#include "stand_ins/firecracker/failures.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace lamina::tests {

std::vector<std::string> Failures::points() {
  return {"create-refuse",
          "create-after-dump",
          "create-no-answer",
          "create-die-before",
          "create-die-after-dump",
          "create-hang",
          "create-slow",
          "create-enospc",
          "pause-refuse",
          "resume-refuse",
          "resume-die",
          "load-refuse",
          "load-die",
          "load-slow"};
}

Status Failures::arm(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string point = text.substr(0, colon);
  const std::vector<std::string> known = points();
  if (std::find(known.begin(), known.end(), point) == known.end()) {
    return fail(ErrorKind::kUsage, "no point of failure '{}'", point);
  }
  unsigned count = 1;
  if (colon != std::string::npos) {
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data() + colon + 1, end, count);
    if (read.ec != std::errc{} || read.ptr != end || count == 0) {
      return fail(ErrorKind::kUsage, "'{}': no count from 1 after the colon", text);
    }
  }
  const std::lock_guard lock(mutex_);
  armed_.emplace_back(point, count);
  return {};
}

bool Failures::hits(std::string_view point) {
  const std::lock_guard lock(mutex_);
  bool hit = false;
  for (auto& [name, count] : armed_) {
    if (name == point && --count == 0) hit = true;
  }
  std::erase_if(armed_, [](const auto& armed) { return armed.second == 0; });
  return hit;
}

void Hold::wait() {
  std::unique_lock lock(mutex_);
  held_ = true;
  changed_.wait(lock, [&] { return !held_; });
}

bool Hold::release() {
  const std::lock_guard lock(mutex_);
  const bool was_held = held_;
  held_ = false;
  changed_.notify_all();
  return was_held;
}

bool Hold::is_held() {
  const std::lock_guard lock(mutex_);
  return held_;
}

}  // namespace lamina::tests
