#include "machine_facts.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/utsname.h>

#include <fstream>
#include <thread>

namespace lamina::bench {
namespace {

constexpr unsigned long kXfsMagic = 0x58465342;

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace

std::string file_system_name(const std::string& directory) {
  struct statfs status{};
  if (::statfs(directory.c_str(), &status) != 0) return "unknown";
  switch (const auto type = static_cast<unsigned long>(status.f_type)) {
    case EXT4_SUPER_MAGIC:
      return "ext4";
    case kXfsMagic:
      return "xfs";
    case BTRFS_SUPER_MAGIC:
      return "btrfs";
    case TMPFS_MAGIC:
      return "tmpfs";
    case OVERLAYFS_SUPER_MAGIC:
      return "overlay";
    default:
      return fmt::format("{:#x}", type);
  }
}

MachineFacts find_machine_facts(const std::string& directory) {
  MachineFacts facts;
  utsname name{};
  if (::uname(&name) == 0) facts.kernel = fmt::format("{} {}", name.sysname, name.release);
  facts.cpu = cpu_model();
  facts.cpu_count = std::thread::hardware_concurrency();
  facts.file_system = file_system_name(directory);
  return facts;
}

}  // namespace lamina::bench
