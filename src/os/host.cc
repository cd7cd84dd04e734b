#include "os/host.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

#include "os/clock.h"
#include "os/file.h"

namespace lamina::os {
namespace {

constexpr std::size_t kIdDigits = 32;
constexpr std::uint64_t kMaxIdBytes = 4096;

}  // namespace

std::string machine_id() {
  for (const char* path : {"/etc/machine-id", "/var/lib/dbus/machine-id"}) {
    const auto bytes = read_if_exists(AT_FDCWD, path, kMaxIdBytes, path);
    if (!bytes || !*bytes) continue;
    std::string_view text(reinterpret_cast<const char*>((*bytes)->data()), (*bytes)->size());
    while (text.ends_with('\n')) text.remove_suffix(1);
    // In an image that was never booted the file is empty or says "uninitialized".
    const bool is_id =
        text.size() == kIdDigits && std::all_of(text.begin(), text.end(), [](char c) {
          return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        });
    if (is_id) return std::string(text);
  }
  return {};
}

std::uint64_t birth_time_ns(int fd) {
  struct statx facts{};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &facts) != 0) return 0;
  if ((facts.stx_mask & STATX_BTIME) == 0 || facts.stx_btime.tv_sec < 0) return 0;
  return static_cast<std::uint64_t>(facts.stx_btime.tv_sec) * kNanosecondsPerSecond +
         facts.stx_btime.tv_nsec;
}

}  // namespace lamina::os
