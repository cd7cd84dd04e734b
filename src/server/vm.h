// A VM that is being served: its descriptors and its state. They come from a handshake, from a
// predecessor, or from the VM's process.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"
#include "os/peer.h"
#include "pager/handshake.h"
#include "pager/session.h"
#include "pager/vm_state.h"
#include "server/snapshots.h"
#include "server/state_directory.h"

namespace lamina::server {

struct Vm {
  std::uint64_t id = 0;
  Service service;  ///< keeps the snapshot open
  VmDirectory directory;
  os::Fd userfaultfd;
  os::Fd pidfd;
  os::Fd connection;  ///< kept open while the VM lives; invalid after reacquire_vm()
  pager::VmState state;

  [[nodiscard]] pager::VmDescriptors descriptors() const {
    return {userfaultfd.get(), pidfd.get()};
  }
};

/// A connected process that has a directory (is on record) and has not sent its handshake yet.
struct ClaimedPeer {
  os::Peer peer;
  std::uint64_t start_time = 0;
  os::Fd pidfd;
  VmDirectory directory;
};

/// Makes the directory of the process behind a connected socket. kFailed if the process has ended
/// or this process may not kill it; kBusy if it has connected before.
Result<ClaimedPeer> claim_peer(const StateDirectory& states, int connection);

/// Makes the VM's state file from its complete handshake. From then on another process can take the
/// VM over. kCorrupt if the regions do not fit the snapshot. `claimed` and `connection` are moved
/// from on success only.
Result<std::unique_ptr<Vm>> make_vm(const StateDirectory& states, ClaimedPeer& claimed,
                                    pager::Handshake handshake, os::Fd& connection,
                                    Service service);

/// Maps the state of a VM whose descriptors are available. `path` is the path of `directory`.
/// Vm::service is not set.
Result<std::unique_ptr<Vm>> attach_vm(const std::string& path, VmDirectory directory,
                                      os::Fd userfaultfd, os::Fd pidfd, os::Fd connection);

/// Takes over the VM of an abandoned directory: opens its process and duplicates its userfaultfd
/// (pidfd_getfd). kNotFound if the process has ended; after any other failure the VM would wait
/// forever, so the caller tries again or kills it (kill_if_waiting). `directory` is moved from on
/// success only. Vm::service is not set.
Result<std::unique_ptr<Vm>> reacquire_vm(const StateDirectory& states, VmDirectory& directory);

/// Kills (SIGKILL) the process that a VM's directory or pin is named after, if it is still the same
/// process and has a userfaultfd: otherwise none of its threads can wait for pages. False if there
/// was nothing to kill. On failure the VM may still be waiting.
Result<bool> kill_if_waiting(const std::string& process_name);

}  // namespace lamina::server
