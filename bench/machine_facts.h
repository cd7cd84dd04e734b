#pragma once

#include <string>

namespace lamina::bench {

/// What figures depend on besides the program.
struct MachineFacts {
  std::string kernel;
  std::string cpu;
  unsigned cpu_count = 0;
  std::string file_system;  ///< of the benchmark's directory
};

MachineFacts find_machine_facts(const std::string& directory);

/// "ext4", "xfs", …, or the number that statfs(2) gives.
std::string file_system_name(const std::string& directory);

}  // namespace lamina::bench
