#include "os/memory_room.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "os/proc_file.h"

namespace lamina::os {
namespace {

/// The files of one version of control groups.
struct Controller {
  std::string mount;
  std::array<const char*, 2> limits;  ///< the second may be empty
  const char* usage;
  const char* reclaimable;  ///< line of memory.stat
};

bool is_group(const std::string& path) {
  struct stat facts{};
  return ::stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
}

/// The number in a file; nullopt if there is none ("max", or no such file).
std::optional<std::uint64_t> number_of_file(const std::string& path) {
  const auto text = read_proc_file(path);
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  const auto number = take_number(rest);
  if (!number || *number < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

/// Lowers `room` to what the limits of one group leave.
void apply_group(const Controller& controller, const std::string& group, MemoryRoom& room) {
  for (const char* limit : controller.limits) {
    if (*limit == '\0') continue;
    const auto most = number_of_file(group + "/" + limit);
    if (!most) continue;
    const std::uint64_t used = number_of_file(group + "/" + controller.usage).value_or(*most);
    std::uint64_t reclaimable = 0;
    if (const auto text = read_proc_file(group + "/memory.stat")) {
      std::string_view rest = proc_value(*text, controller.reclaimable);
      reclaimable =
          static_cast<std::uint64_t>(std::max<std::int64_t>(take_number(rest).value_or(0), 0));
    }
    const std::uint64_t charged = used - std::min(used, reclaimable);
    const std::uint64_t left = *most - std::min(*most, charged);
    if (left >= room.bytes) continue;
    room.bytes = left;
    room.limit = group + "/" + limit;
  }
}

/// Lowers `room` to what group `path` and those above it leave.
void apply_groups(const Controller& controller, std::string_view path, MemoryRoom& room) {
  // "/..": the group is outside of what this process can see.
  if (!path.starts_with('/') || path.starts_with("/..") ||
      !is_group(controller.mount + std::string(path))) {
    room.unknown = fmt::format("the control group '{}' of the process cannot be seen in '{}'", path,
                               controller.mount);
    return;
  }
  while (true) {
    if (path == "/") path = {};
    apply_group(controller, controller.mount + std::string(path), room);
    if (path.empty()) return;
    path = path.substr(0, path.rfind('/'));
  }
}

/// True if `list`, comma-separated, contains the memory controller.
bool has_memory_controller(std::string_view list) {
  while (!list.empty()) {
    const std::string_view one = list.substr(0, list.find(','));
    if (one == "memory") return true;
    list.remove_prefix(std::min(list.size(), one.size() + 1));
  }
  return false;
}

/// Where the memory controller has a process: it is in one hierarchy only.
struct Membership {
  std::string_view path;
  bool is_version_1 = false;
};

/// From the lines of /proc/PID/cgroup: NUMBER:CONTROLLERS:PATH. Version 2 names no controllers.
std::optional<Membership> membership_of(std::string_view lines) {
  std::optional<Membership> found;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
    const std::size_t first = line.find(':');
    if (first == std::string_view::npos) continue;
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    if (has_memory_controller(controllers)) return Membership{path, true};
    if (controllers.empty()) found = Membership{path, false};
  }
  return found;
}

void apply_membership(const Membership& membership, const MemoryFiles& files, MemoryRoom& room) {
  if (membership.is_version_1) {
    return apply_groups({files.cgroups + "/memory",
                         {"memory.limit_in_bytes", ""},
                         "memory.usage_in_bytes",
                         "total_inactive_file "},
                        membership.path, room);
  }
  const std::string unified = files.cgroups + "/unified";
  apply_groups({is_group(unified) ? unified : files.cgroups,
                {"memory.max", "memory.high"},
                "memory.current",
                "inactive_file "},
               membership.path, room);
}

}  // namespace

Result<MemoryRoom> memory_room(pid_t pid, const MemoryFiles& files) {
  const std::string host = files.proc + "/meminfo";
  const auto facts = read_proc_file(host);
  std::string_view rest = facts ? proc_value(*facts, "MemAvailable:") : std::string_view();
  const auto available = take_number(rest);
  if (!available || *available < 0) {
    return fail(ErrorKind::kFailed, "'{}' does not say how much memory is available", host);
  }
  constexpr std::uint64_t kBytesPerKib = 1024;
  MemoryRoom room{static_cast<std::uint64_t>(*available) * kBytesPerKib, "the host", {}};
  const std::string groups = fmt::format("{}/{}/cgroup", files.proc, pid);
  const auto text = read_proc_file(groups);
  if (!text) {
    // A kernel without control groups has no such file, for no process.
    if (read_proc_file(files.proc + "/self/cgroup")) {
      room.unknown = fmt::format("'{}' cannot be read", groups);
    }
    return room;
  }
  if (const auto membership = membership_of(*text)) apply_membership(*membership, files, room);
  return room;
}

bool is_on_tmpfs(int fd) {
  struct statfs system{};
  return ::fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC;
}

}  // namespace lamina::os
