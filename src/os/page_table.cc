#include "os/page_table.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "os/fd.h"

namespace lamina::os {
namespace {

constexpr std::uint64_t kSmallPageBytes = 4096;
/// Bits 63 (present) and 62 (swapped) of an entry.
constexpr unsigned kThereShift = 62;

}  // namespace

std::optional<bool> has_page(pid_t pid, std::uint64_t address) {
  std::array<char, 32> path{};
  static_cast<void>(std::snprintf(path.data(), path.size(), "/proc/%d/pagemap", pid));
  const Fd file(::open(path.data(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return std::nullopt;
  std::uint64_t entry = 0;
  const auto offset = static_cast<off_t>(address / kSmallPageBytes * sizeof(entry));
  ssize_t count = -1;
  do {
    count = ::pread(file.get(), &entry, sizeof(entry), offset);
  } while (count < 0 && errno == EINTR);
  if (count != static_cast<ssize_t>(sizeof(entry))) return std::nullopt;
  return (entry >> kThereShift) != 0;
}

}  // namespace lamina::os
