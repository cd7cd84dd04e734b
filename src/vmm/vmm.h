// A VMM process behind its API socket: what the lifecycle needs of every VMM.
//
// The VMMs differ in who reads the memory, and in what an acknowledgement means:
//
//                     Firecracker                        Cloud Hypervisor
//   memory is read    by Firecracker, into a file        by lamina, from the paused process
//   acknowledged      Firecracker's answer to a create:  lamina's answer to the migration: the
//                     its dirty bits are cleared         process ends; before it, nothing changes
//   a diff counts     from the last create               from the file that the VM maps
//   without an        the next memory file is a full     nothing is lost
//   acknowledgement   one
//
// So capturing and loading are functions of each client. What is here is the same for both.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "http/exchange.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "os/lock.h"
#include "os/peer.h"
#include "vmm/instance.h"

namespace lamina::vmm {

/// Time limits for a VMM.
struct Timeouts {
  std::chrono::milliseconds connect = std::chrono::seconds(5);
  std::chrono::milliseconds request = std::chrono::seconds(30);  ///< for short calls
  std::chrono::milliseconds create = std::chrono::minutes(15);   ///< the memory is written
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

/// One VMM process. Each request uses its own connection, and only if the process found first still
/// listens on the socket: otherwise a request could reach another VM that now uses the same path.
/// Not thread-safe.
class Vmm {
 public:
  Vmm(const Vmm&) = delete;
  Vmm& operator=(const Vmm&) = delete;
  virtual ~Vmm() = default;

  [[nodiscard]] const std::string& api_socket() const { return api_socket_; }
  [[nodiscard]] pid_t pid() const { return peer_.pid; }
  [[nodiscard]] uid_t uid() const { return peer_.uid; }
  [[nodiscard]] gid_t gid() const { return peer_.gid; }
  /// See os::start_time_of().
  [[nodiscard]] std::uint64_t start_time() const { return start_time_; }
  /// Readable when the process has ended. Owned by this object.
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  [[nodiscard]] const Timeouts& timeouts() const { return timeouts_; }

  /// The state of the VM. Once this returns, no earlier request of ours changes it any more.
  virtual Result<InstanceInfo> describe() = 0;
  virtual Reply pause() = 0;
  virtual Reply resume() = 0;

 protected:
  Vmm() = default;
  Vmm(Vmm&&) = default;
  Vmm& operator=(Vmm&&) = default;

  /// Connects once to identify the process. `name` begins all errors: "firecracker".
  Status identify(std::string_view name, const std::string& api_socket, const Timeouts& timeouts,
                  Progress* progress);
  /// Another name, once it is known which VMM it is.
  void set_name(std::string_view name);
  [[nodiscard]] Result<os::Fd> open_connection() const;
  http::Exchange send_on(const os::Fd& connection, const http::Request& request,
                         std::chrono::milliseconds timeout, Progress* while_waiting) const;
  /// The error of a request if the process has ended or is ending.
  [[nodiscard]] std::optional<Error> end_of_process() const;
  [[nodiscard]] Error about(const http::Request& request, Error error) const;
  /// Success if the peer of a connection is the process found first.
  [[nodiscard]] Status check_peer(int socket) const;
  [[nodiscard]] const std::string& object() const { return object_; }
  [[nodiscard]] Progress* progress() const { return progress_; }

 private:
  std::string object_;  ///< "firecracker at '...'"
  std::string api_socket_;
  Timeouts timeouts_;
  Progress* progress_ = nullptr;
  os::Peer peer_;
  std::uint64_t start_time_ = 0;
  os::LockedFd pidfd_;  ///< lifecycle::lock_vm() locks it
};

}  // namespace lamina::vmm
