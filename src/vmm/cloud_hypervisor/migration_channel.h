// One connection of a local migration: lamina is the receiver when it captures a VM, and the sender
// when it restores one.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "vmm/cloud_hypervisor/migration_message.h"

namespace lamina::vmm {

/// What a wait ends by.
struct MigrationWait {
  std::chrono::milliseconds timeout{};
  int peer_pidfd = -1;           ///< ends the wait when that process has ended
  Progress* progress = nullptr;  ///< may be null; asked at least every 200 ms
};

/// A request with its payload.
struct ReceivedRequest {
  MigrationCommand command = MigrationCommand::kStart;
  std::string payload;  ///< of Config and State
  std::uint32_t slot = 0;
  os::Fd memory;  ///< of MemoryFd
};

class MigrationChannel {
 public:
  /// `socket`: connected.
  explicit MigrationChannel(os::Fd socket) : socket_(std::move(socket)) {}

  [[nodiscard]] int socket() const { return socket_.get(); }

  /// The next request. kFailed if the peer closes the connection, ends or takes too long; kCorrupt
  /// and kUnsupported as decode_request(), also for a descriptor that is missing or not expected.
  Result<ReceivedRequest> receive_request(const MigrationWait& wait);
  Status send_answer(MigrationAnswer answer, const MigrationWait& wait);

  /// Sends a request and waits for its answer. kFailed, "refused NAME", if it is an Error.
  Status request(MigrationCommand command, std::string_view payload, const MigrationWait& wait);

  /// The same for MemoryFd: sends the memfd of `slot`.
  Status send_memory(std::uint32_t slot, int memory, const MigrationWait& wait);

 private:
  Status receive_answer(MigrationCommand command, const MigrationWait& wait);
  Status receive(std::span<std::byte> buffer, const MigrationWait& wait);
  Status send(std::span<const std::byte> bytes, const MigrationWait& wait);
  [[nodiscard]] Status wait_for(short events, const MigrationWait& wait) const;

  os::Fd socket_;
  std::vector<os::Fd> descriptors_;  ///< received and not yet taken
};

/// Waits for a connection to a listening socket, of process `pid`; others are turned away.
/// kFailed if none comes in time.
Result<MigrationChannel> accept_migration(int listening, const std::string& path, pid_t pid,
                                          const MigrationWait& wait);

}  // namespace lamina::vmm
