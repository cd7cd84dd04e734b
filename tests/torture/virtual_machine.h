// A fake Firecracker (tests/stand_ins/firecracker) whose guest writes memory, and which goes with
// the power.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "lamina/result.h"

namespace lamina::torture {

class VirtualMachine {
 public:
  VirtualMachine() = default;
  VirtualMachine(const VirtualMachine&) = delete;
  VirtualMachine& operator=(const VirtualMachine&) = delete;
  VirtualMachine(VirtualMachine&&) = delete;
  VirtualMachine& operator=(VirtualMachine&&) = delete;
  ~VirtualMachine() { power_off(); }

  /// Starts `program` with its sockets in `directory`; returns when it listens.
  Status start(const std::string& program, const std::string& directory,
               const std::vector<std::string>& options);

  /// Tells the guest to do something (tests/stand_ins/firecracker/control.h).
  [[nodiscard]] Status tell(const std::string& line) const;

  [[nodiscard]] const std::string& api_socket() const { return api_socket_; }

  /// Kills it, and waits for its end.
  void power_off();

 private:
  pid_t pid_ = -1;
  std::string api_socket_;
  std::string control_socket_;
};

}  // namespace lamina::torture
