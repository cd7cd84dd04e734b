// The messages of Cloud Hypervisor's local migration, version 0 of its protocol (release 53). Pure.
//
// A request has 16 bytes, little-endian: u16 command, 6 bytes of headers (in Start the first two
// are the protocol's version, else zeros), u64 length of the payload that follows. Each request is
// answered: u16 status, 6 bytes of zeros, u64 length, which is 0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "lamina/result.h"

namespace lamina::vmm {

/// The commands of a local migration. (Memory, Abandon and PageFault belong to other kinds.)
enum class MigrationCommand : std::uint16_t {
  kStart = 1,
  kConfig = 2,          ///< JSON: the VM's configuration and its memory layout
  kState = 3,           ///< JSON: devices and processors
  kComplete = 5,        ///< the VM ran, and is to run
  kMemoryFd = 7,        ///< u32 slot, with the descriptor of a memfd
  kCompletePaused = 8,  ///< the VM was paused, and stays paused
};

std::string_view name_of(MigrationCommand command);

inline constexpr std::size_t kMigrationHeaderBytes = 16;
inline constexpr std::size_t kMemorySlotBytes = 4;
inline constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{16} << 20;
inline constexpr std::uint64_t kMaxStateBytes = std::uint64_t{64} << 20;

using MigrationHeader = std::array<std::byte, kMigrationHeaderBytes>;

struct MigrationRequest {
  MigrationCommand command = MigrationCommand::kStart;
  std::uint64_t length = 0;  ///< of the payload

  bool operator==(const MigrationRequest&) const = default;
};

MigrationHeader encode_request(const MigrationRequest& request);

/// kUnsupported for another version of the protocol or a command of another kind of migration;
/// kCorrupt for a header that no Cloud Hypervisor sends. The length is within the command's bounds.
Result<MigrationRequest> decode_request(std::span<const std::byte, kMigrationHeaderBytes> header);

enum class MigrationAnswer : std::uint16_t { kOk = 1, kError = 2 };

MigrationHeader encode_answer(MigrationAnswer answer);

/// kCorrupt for an answer that no Cloud Hypervisor sends.
Result<MigrationAnswer> decode_answer(std::span<const std::byte, kMigrationHeaderBytes> header);

std::array<std::byte, kMemorySlotBytes> encode_slot(std::uint32_t slot);
std::uint32_t decode_slot(std::span<const std::byte, kMemorySlotBytes> payload);

}  // namespace lamina::vmm
