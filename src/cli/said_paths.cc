#include "cli/said_paths.h"

#include <algorithm>
#include <string_view>

namespace lamina::cli {
namespace {

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/// A path may begin after this.
bool ends_before_path(char c) {
  return !is_alphanumeric(c) && std::string_view("._-/").find(c) == std::string_view::npos;
}

/// A path, or one of its parts, may end before this. (A name may have a colon or a comma, but they
/// also stand behind paths.)
bool begins_after_path(char c) {
  return !is_alphanumeric(c) && std::string_view("._-+@=").find(c) == std::string_view::npos;
}

}  // namespace

void SaidPaths::add(std::string theirs, std::string ours) {
  if (theirs.empty() || theirs == ours) return;
  const auto shorter = std::find_if(pairs_.begin(), pairs_.end(), [&](const Pair& pair) {
    return pair.first.size() < theirs.size();
  });
  pairs_.emplace(shorter, std::move(theirs), std::move(ours));
}

const SaidPaths::Pair* SaidPaths::find(const std::string& text, std::size_t at) const {
  if (at > 0 && !ends_before_path(text[at - 1])) return nullptr;
  for (const Pair& pair : pairs_) {
    const std::size_t end = at + pair.first.size();
    if (text.compare(at, pair.first.size(), pair.first) != 0) continue;
    if (end >= text.size() || begins_after_path(text[end])) return &pair;
  }
  return nullptr;
}

std::string SaidPaths::shown(const std::string& text) const {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    if (const Pair* pair = find(text, at)) {
      result += pair->second;
      at += pair->first.size();
    } else {
      result += text[at++];
    }
  }
  return result;
}

void SaidPaths::show(report::Json& document) const {
  // Not by recursion: what another process says may be nested deeper than the stack.
  std::vector<report::Json*> left = {&document};
  while (!left.empty()) {
    report::Json& value = *left.back();
    left.pop_back();
    if (value.is_string()) {
      value = shown(value.get<std::string>());
    } else if (value.is_structured()) {
      for (report::Json& inner : value) left.push_back(&inner);
    }
  }
}

}  // namespace lamina::cli
