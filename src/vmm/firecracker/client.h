// A client of one Firecracker's API socket.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/exchange.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "os/peer.h"
#include "vmm/firecracker/messages.h"

namespace lamina::vmm {

/// How long Firecracker may take.
struct Timeouts {
  std::chrono::milliseconds connect = std::chrono::seconds(5);
  std::chrono::milliseconds request = std::chrono::seconds(30);  ///< the short calls
  std::chrono::milliseconds create = std::chrono::minutes(15);   ///< it writes and syncs the memory
  std::chrono::milliseconds load = std::chrono::minutes(2);
};

/// What became of a request that changes state.
enum class Outcome : std::uint8_t {
  kAcknowledged,  ///< done: a 204, which is all that Firecracker says then, was read whole
  kRefused,       ///< an error answer was read whole, or the request was never sent
  kUnknown,       ///< it was sent, and may have been carried out, now or later
};

/// The outcome, and what went wrong when it is not kAcknowledged.
class [[nodiscard]] Reply {
 public:
  static Reply acknowledged() { return {Outcome::kAcknowledged, {}}; }
  static Reply refused(Error error) {
    return {Outcome::kRefused, std::unexpected(std::move(error))};
  }
  static Reply unknown(Error error) {
    return {Outcome::kUnknown, std::unexpected(std::move(error))};
  }

  [[nodiscard]] Outcome outcome() const { return outcome_; }
  /// Success exactly when acknowledged.
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  Reply(Outcome outcome, Status status) : outcome_(outcome), status_(std::move(status)) {}

  Outcome outcome_;
  Status status_;
};

/// One Firecracker process behind its API socket. Each request has a connection of its own, which
/// is used only when the very process of connect() listens at its other end: whoever paused a VM
/// must not take a snapshot of another one that has got the same path.
///
/// Firecracker has room for ten connections, and turns the next one away (503) before it reads
/// anything of it. A request that was turned away was not carried out: it is made again, after
/// pauses that grow from 10 to 200 ms, for as long as a short call may take. And a VM that was
/// paused or loaded can always be told to go on: the connection of that request is kept until then,
/// and takes what a new connection cannot.
///
/// Errors begin with "firecracker at 'SOCKET': METHOD TARGET: "; what Firecracker gave as a reason
/// is shown without control characters. A process that ends is noticed at once.
///
/// Not thread-safe: one object is used by one thread. Firecracker itself answers one request at a
/// time, on all connections together; a call waits for those before it.
class Firecracker {
 public:
  /// Connects once, to learn who listens; the path may have any length. kNotFound when nobody does.
  ///
  /// `progress`, if any, outlives the object; only its interrupted() is called, at least every
  /// 200 ms while a call waits, which then fails with kInterrupted. A create that was sent is never
  /// given up for it.
  static Result<Firecracker> connect(const std::string& api_socket, const Timeouts& timeouts = {},
                                     Progress* progress = nullptr);

  [[nodiscard]] pid_t pid() const { return peer_.pid; }
  [[nodiscard]] uid_t uid() const { return peer_.uid; }
  [[nodiscard]] gid_t gid() const { return peer_.gid; }
  /// See os::start_time_of().
  [[nodiscard]] std::uint64_t start_time() const { return start_time_; }
  /// Readable when the process has ended. Owned by this object.
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  [[nodiscard]] const Timeouts& timeouts() const { return timeouts_; }

  /// `GET /`. Answered only when every request before it has been carried out.
  Result<InstanceInfo> describe();
  /// `GET /machine-config`
  Result<MachineConfig> machine_config();
  /// `GET /hotplug/memory`, of a VM that was started: how much memory can be plugged beside that of
  /// the machine's configuration, in MiB; 0 when it has no such device.
  Result<std::uint64_t> hotplug_memory_mib();

  /// `PATCH /vm`. Both are also acknowledged when the VM was so already. Acknowledged, pause()
  /// and load() keep their connection, and resume() closes it.
  Reply pause();
  Reply resume();

  /// `PUT /snapshot/create`, of a paused VM. Unless it is acknowledged, dirty pages may have been
  /// forgotten: the memory file is worthless, and the VM's next snapshot must be a Full.
  /// `while_waiting`, if any, may give the waiting up: for what makes an answer impossible.
  Reply create(const CreateRequest& request, Progress* while_waiting = nullptr);

  /// `PUT /snapshot/load`, into a process that has no VM yet. A process that refused it is ending.
  Reply load(const LoadRequest& request);

 private:
  Firecracker() = default;

  [[nodiscard]] Result<os::Fd> open_connection() const;
  /// Success when the very process of connect() listens at the other end of a connection.
  [[nodiscard]] Status check_peer(int socket) const;
  /// Makes a request until it is not turned away, or the time for that is up.
  http::Exchange send(const http::Request& request, std::chrono::milliseconds timeout,
                      Progress* while_waiting, os::Fd* connection_after = nullptr);
  http::Exchange send_on(const os::Fd& connection, const http::Request& request,
                         std::chrono::milliseconds timeout, Progress* while_waiting) const;
  /// The error of a request to a process that has ended, or is ending.
  [[nodiscard]] std::optional<Error> end_of_process() const;
  Result<std::string> get(std::string_view target);
  Reply change(const http::Request& request, std::chrono::milliseconds timeout,
               Progress* while_waiting, os::Fd* connection_after = nullptr);
  [[nodiscard]] Error about(const http::Request& request, Error error) const;

  std::string object_;  ///< "firecracker at '...'"
  std::string api_socket_;
  Timeouts timeouts_;
  Progress* progress_ = nullptr;
  os::Peer peer_;
  std::uint64_t start_time_ = 0;
  os::Fd pidfd_;
  os::Fd kept_;  ///< a connection that Firecracker has room for, while the VM is paused by us
};

}  // namespace lamina::vmm
