// Client for the API socket of one Firecracker process.
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
#include "os/lock.h"
#include "os/peer.h"
#include "vmm/firecracker/messages.h"

namespace lamina::vmm {

/// Time limits for Firecracker.
struct Timeouts {
  std::chrono::milliseconds connect = std::chrono::seconds(5);
  std::chrono::milliseconds request = std::chrono::seconds(30);  ///< for short calls
  std::chrono::milliseconds create = std::chrono::minutes(15);   ///< writes and syncs the memory
  std::chrono::milliseconds load = std::chrono::minutes(2);
};

/// The outcome of a request that changes state.
enum class Outcome : std::uint8_t {
  kAcknowledged,  ///< a complete 204 was received: the request was carried out
  kRefused,       ///< a complete error response was received, or the request was never sent
  kUnknown,       ///< the request was sent, and may have been or may yet be carried out
};

/// The outcome, with an error unless it is kAcknowledged.
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
  /// Success if and only if the outcome is kAcknowledged.
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  Reply(Outcome outcome, Status status) : outcome_(outcome), status_(std::move(status)) {}

  Outcome outcome_;
  Status status_;
};

/// One Firecracker process behind its API socket. Each request uses its own connection, and only if
/// the process found by connect() still listens on the socket: otherwise a snapshot of another VM
/// that now uses the same path could be taken.
///
/// Firecracker accepts ten connections and replies 503 to further ones without reading the request.
/// Such a request was not carried out; it is retried with delays from 10 to 200 ms until
/// Timeouts::request. A VM that was paused or loaded can always be resumed: the connection of that
/// request is kept open, and is used if a new connection gets a 503.
///
/// Errors begin with "firecracker at 'SOCKET': METHOD TARGET: ". Control characters are removed
/// from Firecracker's error messages. The end of the process is noticed at once.
///
/// Not thread-safe. Firecracker serves one request at a time over all connections; a call waits for
/// earlier requests.
class Firecracker {
 public:
  /// Connects once to identify the process. The path may have any length. kNotFound if no process
  /// listens on it.
  ///
  /// `progress`, if not null, must outlive this object. Only its interrupted() is called, at least
  /// every 200 ms while a call waits; then the call fails with kInterrupted. A create that was sent
  /// is not interrupted.
  static Result<Firecracker> connect(const std::string& api_socket, const Timeouts& timeouts = {},
                                     Progress* progress = nullptr);

  [[nodiscard]] const std::string& api_socket() const { return api_socket_; }
  [[nodiscard]] pid_t pid() const { return peer_.pid; }
  [[nodiscard]] uid_t uid() const { return peer_.uid; }
  [[nodiscard]] gid_t gid() const { return peer_.gid; }
  /// See os::start_time_of().
  [[nodiscard]] std::uint64_t start_time() const { return start_time_; }
  /// Readable when the process has ended. Owned by this object.
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  [[nodiscard]] const Timeouts& timeouts() const { return timeouts_; }

  /// `GET /`. Firecracker serves one request at a time, so once this returns all earlier requests
  /// have finished.
  Result<InstanceInfo> describe();
  /// `GET /machine-config`
  Result<MachineConfig> machine_config();
  /// `GET /hotplug/memory`: the amount of hotpluggable memory of a started VM, in MiB, in addition
  /// to its configured memory; 0 without such a device.
  Result<std::uint64_t> hotplug_memory_mib();

  /// `PATCH /vm`. Both are acknowledged even if the VM was already in that state. After success,
  /// pause() and load() keep their connection open, and resume() closes it.
  Reply pause();
  Reply resume();

  /// `PUT /snapshot/create` for a paused VM. Unless it is acknowledged, Firecracker may have
  /// cleared its dirty bits: the memory file is unusable and the VM's next snapshot must be Full.
  /// `while_waiting`, if not null, may stop the wait if a response has become impossible.
  Reply create(const CreateRequest& request, Progress* while_waiting = nullptr);

  /// `PUT /mmds`: the contents of the metadata service, a JSON object. Refused if the VM was not
  /// configured with one.
  Reply put_mmds(const std::string& contents);

  /// `PUT /snapshot/load` into a process without a VM. A process that refuses it exits.
  Reply load(const LoadRequest& request);

 private:
  Firecracker() = default;

  [[nodiscard]] Result<os::Fd> open_connection() const;
  /// Success if the peer of a connection is the process found by connect().
  [[nodiscard]] Status check_peer(int socket) const;
  /// Sends a request; retries on 503 until the time limit.
  http::Exchange send(const http::Request& request, std::chrono::milliseconds timeout,
                      Progress* while_waiting, os::Fd* connection_after = nullptr);
  http::Exchange send_on(const os::Fd& connection, const http::Request& request,
                         std::chrono::milliseconds timeout, Progress* while_waiting) const;
  /// The error of a request if the process has ended or is ending.
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
  os::LockedFd pidfd_;  ///< lifecycle::lock_vm() locks it
  os::Fd kept_;         ///< an accepted connection, kept open while the VM is paused by this client
};

}  // namespace lamina::vmm
