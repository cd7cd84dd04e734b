#include "os/proc_file.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <span>

#include "os/file.h"

namespace lamina::os {

std::optional<std::string> read_proc_file(const std::string& path) {
  constexpr std::size_t kMaxBytes = std::size_t{1} << 20;
  constexpr std::size_t kStepBytes = std::size_t{16} << 10;
  const auto fd = open_at(AT_FDCWD, path, O_RDONLY, path);
  if (!fd) return std::nullopt;
  std::string text;
  while (text.size() < kMaxBytes) {
    const std::size_t had = text.size();
    text.resize(had + kStepBytes);
    const auto count = read_at(
        fd->get(), std::as_writable_bytes(std::span(text.data() + had, kStepBytes)), had, path);
    if (!count) return std::nullopt;
    text.resize(had + *count);
    if (*count < kStepBytes) break;
  }
  return text;
}

std::string_view proc_value(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with(name)) return line.substr(name.size());
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return {};
}

std::optional<std::int64_t> take_number(std::string_view& text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return std::nullopt;
  std::int64_t number = 0;
  const char* const first = text.data() + begin;
  const auto [end, error] = std::from_chars(first, text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

}  // namespace lamina::os
