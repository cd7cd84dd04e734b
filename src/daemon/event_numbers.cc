#include "daemon/event_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <span>
#include <utility>

#include "daemon/log.h"
#include "os/file.h"

namespace lamina::daemon {
namespace {

constexpr std::uint64_t kReserve = std::uint64_t{1} << 20;
/// JSON readers use doubles for numbers. A larger number, which no clock reaches, means that the
/// file is damaged.
constexpr std::uint64_t kMost = std::uint64_t{1} << 52;

std::uint64_t number_in(int file, const std::string& path) {
  std::array<char, 32> text{};
  const auto count = os::read_at(file, std::as_writable_bytes(std::span(text)), 0, path);
  std::uint64_t number = 0;
  if (count) std::from_chars(text.data(), text.data() + *count, number);
  return number <= kMost ? number : 0;
}

}  // namespace

EventNumbers::EventNumbers(int file, std::string path, std::uint64_t time_ms)
    : file_(file),
      path_(std::move(path)),
      next_(std::max(time_ms, number_in(file, path_))),
      reserved_(next_) {}

std::uint64_t EventNumbers::next() {
  if (next_ == reserved_) reserve();
  return next_++;
}

void EventNumbers::reserve() {
  reserved_ = next_ + kReserve;
  // Always of one length, so that a write replaces all of it.
  const std::string text = fmt::format("{:020}\n", reserved_);
  Status written = os::write_at(file_, std::as_bytes(std::span(text)), 0, path_);
  if (written) written = os::sync(file_, path_);
  // This daemon's numbers are right without the file; only the next daemon's may not be.
  if (!written) log(Level::kWarning, "event_numbers", error_fields(written.error()));
}

}  // namespace lamina::daemon
