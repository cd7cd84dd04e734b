#include "server/vm.h"

#include <fcntl.h>

#include <chrono>

#include "base/error.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/peer.h"
#include "os/process.h"
#include "os/process_end.h"
#include "os/userfaultfd.h"

namespace lamina::server {
namespace {

/// A recording ends so long after its VM has connected.
constexpr std::chrono::seconds kRecordingTime{10};

/// The number of `userfaultfd` in the peer, for a server that takes it from there one day; -1 when
/// this process may not look.
int number_in_peer(pid_t pid, int userfaultfd) {
  const auto candidates = os::userfaultfds_of(pid);
  if (!candidates) return -1;
  for (const int number : *candidates) {
    if (os::is_same_file(pid, number, userfaultfd).value_or(false)) return number;
  }
  return -1;
}

/// A pidfd of the process that `named` means, and of nothing else that got its pid. kNotFound when
/// it has ended; any other failure says nothing about it.
Result<os::Fd> open_named_process(const os::NamedProcess& named) {
  LAMINA_ASSIGN_OR_RETURN(os::Fd pidfd, os::open_process(named.pid));
  LAMINA_ASSIGN_OR_RETURN(const std::uint64_t start_time, os::start_time_of(named.pid));
  if (start_time != named.start_time) {
    return fail(ErrorKind::kNotFound, "process {} has ended", named.pid);
  }
  return pidfd;
}

Result<os::Fd> take_userfaultfd(const pager::VmRecord& record, int pidfd) {
  int number = record.userfaultfd;
  if (number < 0) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<int> candidates, os::userfaultfds_of(record.pid));
    if (candidates.size() != 1) {
      return fail(ErrorKind::kFailed,
                  "process {} has {} userfaultfds, and which is ours is not known", record.pid,
                  candidates.size());
    }
    number = candidates.front();
  }
  LAMINA_ASSIGN_OR_RETURN(os::Fd taken, os::take_descriptor(pidfd, number));
  if (!os::is_userfaultfd(taken.get())) {
    return fail(ErrorKind::kFailed, "descriptor {} of process {} is not its userfaultfd any more",
                number, record.pid);
  }
  return taken;
}

}  // namespace

Result<ClaimedPeer> claim_peer(const StateDirectory& states, int connection) {
  LAMINA_ASSIGN_OR_RETURN(const os::Peer peer, os::peer_of(connection));
  auto opened = os::open_peer(connection);
  if (!opened && os::start_time_of(peer.pid).has_value()) return std::unexpected(opened.error());
  if (!opened) return fail(ErrorKind::kFailed, "process {} ended before its handshake", peer.pid);
  os::Fd pidfd = std::move(*opened);
  const auto start_time = os::start_time_of(peer.pid);
  if (!start_time) {
    if (os::has_ended(pidfd.get())) {
      return fail(ErrorKind::kFailed, "process {} ended before its handshake{}", peer.pid,
                  os::describe_end(pidfd.get(), {.pid = peer.pid, .start_time = 0}));
    }
    return std::unexpected(start_time.error());
  }
  if (!os::may_signal(pidfd.get())) {
    return fail(
        ErrorKind::kFailed,
        "process {} of user {} may not be killed by this one, so that a page that cannot be "
        "served would leave it hanging; run as the same user or as root",
        peer.pid, peer.uid);
  }
  LAMINA_ASSIGN_OR_RETURN(VmDirectory directory, states.claim(peer.pid, *start_time));
  return ClaimedPeer{peer, *start_time, std::move(pidfd), std::move(directory)};
}

Result<std::unique_ptr<Vm>> make_vm(const StateDirectory& states, ClaimedPeer& claimed,
                                    pager::Handshake handshake, os::Fd& connection,
                                    Service service) {
  const store::OpenSnapshot& snapshot = service.snapshot->opened;
  const std::uint64_t memory_bytes = snapshot.header.memory_bytes;
  LAMINA_ASSIGN_OR_RETURN(const pager::RegionTable regions,
                          pager::RegionTable::decode(handshake.regions_json, memory_bytes));
  pager::VmRecord facts;
  facts.pid = claimed.peer.pid;
  facts.start_time = claimed.start_time;
  facts.userfaultfd = number_in_peer(claimed.peer.pid, handshake.userfaultfd.get());
  facts.memory_bytes = memory_bytes;
  facts.regions.assign(regions.regions().begin(), regions.regions().end());
  facts.pause_id = snapshot.pause_id;
  facts.snapshot = service.path;
  facts.record_faults_only = service.record == Recorded::kFaults;
  if (service.record != Recorded::kNothing) {
    facts.record_until_ns =
        os::monotonic_ns() +
        static_cast<std::uint64_t>(std::chrono::nanoseconds(kRecordingTime).count());
  }
  LAMINA_ASSIGN_OR_RETURN(
      pager::VmState state,
      pager::VmState::create(claimed.directory.fd(), kStateName, facts,
                             states.path_of(claimed.directory) + "/" + kStateName));
  return std::make_unique<Vm>(Vm{0, std::move(service), std::move(claimed.directory),
                                 std::move(handshake.userfaultfd), std::move(claimed.pidfd),
                                 std::move(connection), std::move(state)});
}

Result<std::unique_ptr<Vm>> attach_vm(const std::string& path, VmDirectory directory,
                                      os::Fd userfaultfd, os::Fd pidfd, os::Fd connection) {
  const std::string state_path = path + "/" + kStateName;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd file,
                          os::open_at(directory.fd(), kStateName, O_RDWR, state_path));
  LAMINA_ASSIGN_OR_RETURN(pager::VmState state, pager::VmState::attach(file.get(), state_path));
  return std::make_unique<Vm>(Vm{0,
                                 {},
                                 std::move(directory),
                                 std::move(userfaultfd),
                                 std::move(pidfd),
                                 std::move(connection),
                                 std::move(state)});
}

Result<std::unique_ptr<Vm>> reacquire_vm(const StateDirectory& states, VmDirectory& directory) {
  const auto named = os::parse_process_name(directory.name());
  LAMINA_ASSIGN_OR_RETURN(os::Fd pidfd, open_named_process(*named));
  const std::string path = states.path_of(directory) + "/" + kStateName;
  const auto file = os::open_at(directory.fd(), kStateName, O_RDWR, path);
  if (!file && file.error().kind == ErrorKind::kNotFound) {
    return fail(ErrorKind::kFailed, "process {} had not finished its handshake", named->pid);
  }
  if (!file) return std::unexpected(file.error());
  LAMINA_ASSIGN_OR_RETURN(pager::VmState state, pager::VmState::attach(file->get(), path));
  if (state.record().pid != named->pid || state.record().start_time != named->start_time) {
    return fail(ErrorKind::kCorrupt, "'{}' is the state of another process", path);
  }
  LAMINA_ASSIGN_OR_RETURN(os::Fd userfaultfd, take_userfaultfd(state.record(), pidfd.get()));
  return std::make_unique<Vm>(Vm{0,
                                 {},
                                 std::move(directory),
                                 std::move(userfaultfd),
                                 std::move(pidfd),
                                 os::Fd(),
                                 std::move(state)});
}

Result<bool> kill_if_waiting(const std::string& process_name) {
  const auto named = os::parse_process_name(process_name);
  const auto pidfd = open_named_process(*named);
  if (!pidfd && pidfd.error().kind == ErrorKind::kNotFound) return false;
  if (!pidfd) return std::unexpected(pidfd.error());
  // When this process may not look, the VM is taken to wait.
  const auto held = os::userfaultfds_of(named->pid);
  if (held && held->empty()) return false;
  LAMINA_RETURN_IF_ERROR(os::kill_process(pidfd->get()));
  return true;
}

}  // namespace lamina::server
