#include "server/admission.h"

#include <fcntl.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/process_end.h"

namespace lamina::server {
namespace {

/// The VM waits for all of it, and so does the process that loads it.
constexpr std::chrono::seconds kLongestOpening{60};

}  // namespace

std::optional<std::string> end_of(const os::NamedProcess& process, int pidfd) {
  if (!os::is_ending(pidfd, process)) return std::nullopt;
  return fmt::format("process {} is refused: it ended during its handshake{}", process.pid,
                     os::describe_end(pidfd, process));
}

void Admission::admit(ArrivedPeer peer, const Endpoint& endpoint) {
  const os::NamedProcess process{.pid = peer.claimed.peer.pid,
                                 .start_time = peer.claimed.start_time};
  os::Fd pidfd(::fcntl(peer.claimed.pidfd.get(), F_DUPFD_CLOEXEC, 0));
  const int error_number = errno;
  if (!pidfd.valid()) pidfd = std::move(peer.claimed.pidfd);
  Arrived arrived{std::move(peer), {}, process, std::move(pidfd)};
  const std::uint64_t number = ++last_number_;
  const Status begun = contain("handshake", [&]() -> Status {
    if (!arrived.peer.claimed.pidfd.valid()) {
      return system_failure("dup", "peer process", error_number);
    }
    arrived.directory = arrived.peer.claimed.directory.name();
    arrived_.emplace(number, std::move(arrived));
    return begin(number, endpoint);
  });
  if (begun) return;
  if (arrived_.contains(number)) return finish(number, std::unexpected(begun.error()));
  // (What could not be put among the others is here still.)
  if (arrived.pidfd.valid()) refuse_and_kill(arrived, begun.error());
}

Status Admission::begin(std::uint64_t number, const Endpoint& endpoint) {
  LAMINA_ASSIGN_OR_RETURN(Offer offer, endpoint.offer_for(arrived_.at(number).peer.claimed));
  if (offer.service) {
    finish(number, std::move(*offer.service));
    return {};
  }
  openings_.open(
      std::move(offer.request),
      [this, number](Result<Service> service) { finish(number, std::move(service)); },
      kLongestOpening);
  return {};
}

void Admission::finish(std::uint64_t number, Result<Service> service) {
  auto found = arrived_.extract(number);
  if (found.empty()) return;
  Arrived& arrived = found.mapped();
  const Status taken =
      contain("handshake", [&] { return make_and_take(arrived.peer, std::move(service)); });
  if (!taken) refuse_and_kill(arrived, taken.error());
}

Status Admission::make_and_take(ArrivedPeer& peer, Result<Service> service) {
  if (!service) return std::unexpected(service.error());
  LAMINA_ASSIGN_OR_RETURN(std::unique_ptr<Vm> vm,
                          make_vm(states_, peer.claimed, std::move(peer.handshake), peer.connection,
                                  std::move(*service)));
  take_(std::move(vm));
  return {};
}

void Admission::refuse_and_kill(const Arrived& arrived, const Error& error) {
  const auto end = end_of(arrived.process, arrived.pidfd.get());
  static_cast<void>(os::kill_process(arrived.pidfd.get()));
  const bool is_named = !arrived.directory.empty();
  states_.remove(
      VmDirectory(is_named ? arrived.directory : arrived.peer.claimed.directory.name(), os::Fd()));
  refuse_(end ? *end
              : fmt::format("process {} is refused: {}{}", arrived.process.pid, one_line(error),
                            kKilledToo));
}

void Admission::close() {
  while (!arrived_.empty()) {
    finish(arrived_.begin()->first,
           fail(ErrorKind::kInterrupted, "the page server ends before its snapshot is open"));
  }
}

}  // namespace lamina::server
