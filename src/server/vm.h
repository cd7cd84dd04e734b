// A VM that is being served: its descriptors and its state, however they were obtained.
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
  Service service;  ///< keeps open what it is served
  VmDirectory directory;
  os::Fd userfaultfd;
  os::Fd pidfd;
  os::Fd connection;  ///< kept open while the VM lives; invalid after a re-acquisition
  pager::VmState state;

  [[nodiscard]] pager::VmDescriptors descriptors() const {
    return {userfaultfd.get(), pidfd.get()};
  }
};

/// What a connection became: the peer's identity, claimed, before its handshake.
struct ClaimedPeer {
  os::Peer peer;
  std::uint64_t start_time = 0;
  os::Fd pidfd;
  VmDirectory directory;
};

/// Claims the process behind a connected socket. kFailed when it is gone or may not be killed by
/// this process; kBusy when it has connected before.
Result<ClaimedPeer> claim_peer(const StateDirectory& states, int connection);

/// Makes the VM's state from its whole handshake. From here on the VM can be taken over by another
/// process. kCorrupt when the regions do not fit the snapshot. `claimed` and `connection` are moved
/// from on success only.
Result<std::unique_ptr<Vm>> make_vm(const StateDirectory& states, ClaimedPeer& claimed,
                                    pager::Handshake handshake, os::Fd& connection,
                                    Service service);

/// The VM of a directory whose descriptors are at hand: maps its state. `path` is the directory's.
/// What it is served is not set.
Result<std::unique_ptr<Vm>> attach_vm(const std::string& path, VmDirectory directory,
                                      os::Fd userfaultfd, os::Fd pidfd, os::Fd connection);

/// Takes over the VM of an abandoned directory: opens its process and takes the userfaultfd from
/// it. kNotFound when the process has ended; after any other failure the VM waits for ever: the
/// caller kills it (kill_if_waiting). `directory` is moved from on success only. What it is served
/// is not set.
Result<std::unique_ptr<Vm>> reacquire_vm(const StateDirectory& states, VmDirectory& directory);

/// SIGKILL to the process that goes by this name (that of a VM's directory or pin), if it is still
/// that one and has a userfaultfd: else nothing in it can be waiting. True when it was killed,
/// false when there was nothing to kill; a failure says that it may still be waiting.
Result<bool> kill_if_waiting(const std::string& process_name);

}  // namespace lamina::server
