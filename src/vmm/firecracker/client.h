// Client for the API socket of one Firecracker process.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/exchange.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "vmm/firecracker/messages.h"
#include "vmm/vmm.h"

namespace lamina::vmm {

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
class Firecracker final : public Vmm {
 public:
  /// Connects once to identify the process. The path may have any length. kNotFound if no process
  /// listens on it.
  ///
  /// `progress`, if not null, must outlive this object. Only its interrupted() is called, at least
  /// every 200 ms while a call waits; then the call fails with kInterrupted. A create that was sent
  /// is not interrupted.
  static Result<Firecracker> connect(const std::string& api_socket, const Timeouts& timeouts = {},
                                     Progress* progress = nullptr);

  /// True if it is a Firecracker: it describes its VM at `GET /`. False if that is answered by 404.
  /// The description is kept for the next describe().
  Result<bool> is_one();

  /// `GET /`. Firecracker serves one request at a time, so once this returns all earlier requests
  /// have finished. The first call after is_one() returns what that was told, unless a request that
  /// changes the VM was sent since.
  Result<InstanceInfo> describe() override;
  /// `GET /machine-config`
  Result<MachineConfig> machine_config();
  /// `GET /hotplug/memory`: the amount of hotpluggable memory of a started VM, in MiB, in addition
  /// to its configured memory; 0 without such a device.
  Result<std::uint64_t> hotplug_memory_mib();

  /// `PATCH /vm`. Both are acknowledged even if the VM was already in that state. After success,
  /// pause() and load() keep their connection open, and resume() closes it.
  Reply pause() override;
  Reply resume() override;

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

  /// Sends a request; retries on 503 until the time limit.
  http::Exchange send(const http::Request& request, std::chrono::milliseconds timeout,
                      Progress* while_waiting, os::Fd* connection_after = nullptr);
  Result<std::string> get(std::string_view target);
  [[nodiscard]] Result<std::string> body_of(const http::Request& request,
                                            http::Response response) const;
  Reply change(const http::Request& request, std::chrono::milliseconds timeout,
               Progress* while_waiting, os::Fd* connection_after = nullptr);

  std::optional<InstanceInfo> told_;  ///< by is_one()
  os::Fd kept_;  ///< an accepted connection, kept open while the VM is paused by this client
};

}  // namespace lamina::vmm
