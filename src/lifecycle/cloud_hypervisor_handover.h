// A VM that its Cloud Hypervisor hands over, in a local migration whose receiver is lamina.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "vmm/cloud_hypervisor/client.h"
#include "vmm/cloud_hypervisor/migration_channel.h"

namespace lamina::lifecycle {

/// The path of a socket for one migration, in `directory` if it fits into a socket's address, else
/// in /tmp. The file is removed at the end.
class MigrationSocketPath {
 public:
  MigrationSocketPath(const std::string& directory, const char* name);
  MigrationSocketPath(MigrationSocketPath&& other) noexcept
      : path_(std::move(other.path_)), is_in_directory_(other.is_in_directory_) {
    other.path_.clear();
  }
  MigrationSocketPath& operator=(MigrationSocketPath&&) = delete;
  MigrationSocketPath(const MigrationSocketPath&) = delete;
  MigrationSocketPath& operator=(const MigrationSocketPath&) = delete;
  ~MigrationSocketPath() { remove(); }

  [[nodiscard]] const std::string& get() const { return path_; }
  /// False: in /tmp.
  [[nodiscard]] bool is_in_directory() const { return is_in_directory_; }
  void remove() const;

 private:
  std::string path_;
  bool is_in_directory_ = true;
};

/// The VM runs on as it was if this is destroyed before accept(), or if this process ends: its
/// Cloud Hypervisor takes back a VM whose receiver is gone.
class Handover {
 public:
  /// Asks for the VM, and receives what comes before it is frozen: memfds and configuration.
  /// `directory`: for the socket, absolute, as the VMM sees it; locked by the caller. kFailed,
  /// kUnsupported (another protocol), kInterrupted.
  static Result<Handover> begin(vmm::CloudHypervisor& vmm, const std::string& directory,
                                Progress* progress);

  [[nodiscard]] const std::string& config() const { return config_; }
  /// The memfds of shared memory, by slot. Empty if all memory is private.
  [[nodiscard]] const std::map<std::uint32_t, os::Fd>& memory() const { return memory_; }

  /// Freezes the VM, and receives its state.
  Status freeze();
  [[nodiscard]] const std::string& state() const { return state_; }

  /// Gives the VM back: it goes on as it was. Success if that was received.
  Status refuse();

  /// Takes the VM: its process ends.
  Status accept();

 private:
  Handover(MigrationSocketPath path, vmm::MigrationChannel channel, vmm::MigrationWait wait)
      : path_(std::move(path)), channel_(std::move(channel)), wait_(wait) {}

  Status receive_configuration();
  Status answer(vmm::MigrationAnswer answer);
  /// Answers the pending message with Ok and receives the next.
  Result<vmm::ReceivedRequest> next();
  [[nodiscard]] std::unexpected<Error> unexpected_message(vmm::MigrationCommand command) const;

  MigrationSocketPath path_;
  std::optional<vmm::MigrationChannel> channel_;
  vmm::MigrationWait wait_;
  std::map<std::uint32_t, os::Fd> memory_;
  std::string config_;
  std::string state_;
};

}  // namespace lamina::lifecycle
