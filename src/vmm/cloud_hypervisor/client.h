// Client for the API socket of one Cloud Hypervisor process.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "vmm/cloud_hypervisor/vm_configuration.h"
#include "vmm/vmm.h"

namespace lamina::vmm {

/// Each request uses its own connection. Errors begin with "cloud-hypervisor at 'SOCKET': METHOD
/// TARGET: ".
class CloudHypervisor final : public Vmm {
 public:
  /// As Firecracker::connect().
  static Result<CloudHypervisor> connect(const std::string& api_socket,
                                         const Timeouts& timeouts = {},
                                         Progress* progress = nullptr);

  /// The process that `identified` has found. See vmm::connect().
  explicit CloudHypervisor(Vmm&& identified);

  /// `GET vmm.ping`: the version, as "v53.0".
  Result<std::string> ping();
  /// `GET vm.info`. kNotStarted, without memory, if no VM was created.
  Result<VmInfo> info();

  /// From ping() and info().
  Result<InstanceInfo> describe() override;
  /// `PUT vm.pause` and `PUT vm.resume`. Refused while the VM is handed over, for a moment also
  /// after the receiver has ended: repeated until Timeouts::request. Acknowledged if the VM is
  /// already in that state.
  Reply pause() override;
  Reply resume() override;

  /// `PUT vm.send-migration`: Cloud Hypervisor connects to the socket at `socket_path` (as it sees
  /// it) and hands the VM over. Acknowledged does not mean that it could connect.
  Reply send_migration(const std::string& socket_path);
  /// `PUT vm.receive-migration`: listens at `socket_path`, and answers when the migration is over.
  /// The socket's file stays. From another thread than other requests: the object is not changed.
  [[nodiscard]] Reply receive_migration(const std::string& socket_path) const;

 private:
  CloudHypervisor() = default;

  struct Answer {
    unsigned status = 0;
    std::string body;
  };
  /// A complete answer.
  Result<Answer> get(std::string_view target);
  [[nodiscard]] Reply put(std::string_view target, std::string body,
                          std::chrono::milliseconds timeout, Progress* while_waiting) const;
  Reply change_state(std::string_view target, VmState wanted);
};

}  // namespace lamina::vmm
