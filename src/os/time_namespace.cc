#include "os/time_namespace.h"

#include <sys/stat.h>

#include <string_view>

#include "base/error.h"
#include "os/clock.h"
#include "os/proc_file.h"

namespace lamina::os {
namespace {

// The number of the initial time namespace (PROC_TIME_INIT_INO of include/linux/proc_ns.h).
constexpr std::uint64_t kInitialTimeNamespace = 0xEFFFFFFA;

}  // namespace

std::optional<std::uint64_t> namespace_number(const std::string& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) return std::nullopt;
  return facts.st_ino;
}

Result<std::int64_t> boot_time_offset_ns() {
  const auto ours = namespace_number("/proc/self/ns/time");
  // No time namespaces, or the initial one.
  if (!ours || *ours == kInitialTimeNamespace) return 0;
  const auto text = read_proc_file("/proc/self/timens_offsets");
  // The file describes the namespace of future children.
  if (!text || ours != namespace_number("/proc/self/ns/time_for_children")) {
    return fail(ErrorKind::kFailed, "the time namespace of this process cannot be determined");
  }
  std::string_view numbers = proc_value(*text, "boottime");
  const auto seconds = take_number(numbers);
  const auto nanoseconds = take_number(numbers);
  if (!seconds || !nanoseconds) {
    return fail(ErrorKind::kFailed, "'/proc/self/timens_offsets' has no boottime offset");
  }
  return *seconds * kNanosecondsPerSecond + *nanoseconds;
}

}  // namespace lamina::os
