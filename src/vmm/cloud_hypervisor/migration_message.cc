#include "vmm/cloud_hypervisor/migration_message.h"

#include <algorithm>

#include "base/error.h"

namespace lamina::vmm {
namespace {

constexpr std::uint16_t kProtocolVersion = 0;
constexpr std::size_t kHeadersBegin = 2;
constexpr std::size_t kLengthBegin = 8;
constexpr unsigned kBitsPerByte = 8;

void put(std::span<std::byte> bytes, std::uint64_t value) {
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(value);
    value >>= kBitsPerByte;
  }
}

std::uint64_t get(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) {
    value = (value << kBitsPerByte) | std::to_integer<std::uint64_t>(bytes[i]);
  }
  return value;
}

MigrationHeader encode(std::uint16_t what, std::uint64_t length) {
  MigrationHeader header{};
  put(std::span(header).first<kHeadersBegin>(), what);
  put(std::span(header).subspan<kLengthBegin>(), length);
  return header;
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte byte) { return byte == std::byte{}; });
}

struct LengthBounds {
  std::uint64_t least = 0;
  std::uint64_t most = 0;
};

LengthBounds bounds_of(MigrationCommand command) {
  switch (command) {
    case MigrationCommand::kConfig:
      return {1, kMaxConfigBytes};
    case MigrationCommand::kState:
      return {1, kMaxStateBytes};
    case MigrationCommand::kMemoryFd:
      return {kMemorySlotBytes, kMemorySlotBytes};
    case MigrationCommand::kStart:
    case MigrationCommand::kComplete:
    case MigrationCommand::kCompletePaused:
      break;
  }
  return {0, 0};
}

}  // namespace

std::string_view name_of(MigrationCommand command) {
  switch (command) {
    case MigrationCommand::kStart:
      return "Start";
    case MigrationCommand::kConfig:
      return "Config";
    case MigrationCommand::kState:
      return "State";
    case MigrationCommand::kComplete:
      return "Complete";
    case MigrationCommand::kMemoryFd:
      return "MemoryFd";
    case MigrationCommand::kCompletePaused:
      return "CompletePaused";
  }
  return {};
}

MigrationHeader encode_request(const MigrationRequest& request) {
  return encode(static_cast<std::uint16_t>(request.command), request.length);
}

Result<MigrationRequest> decode_request(std::span<const std::byte, kMigrationHeaderBytes> header) {
  const auto number = static_cast<std::uint16_t>(get(header.first<kHeadersBegin>()));
  MigrationRequest request;
  request.command = static_cast<MigrationCommand>(number);
  request.length = get(header.subspan<kLengthBegin>());
  if (name_of(request.command).empty()) {
    constexpr std::uint16_t kMemory = 4;
    constexpr std::uint16_t kAbandon = 6;
    constexpr std::uint16_t kPageFault = 9;
    if (number == kMemory || number == kAbandon || number == kPageFault) {
      return fail(ErrorKind::kUnsupported, "message {} is not of a local migration", number);
    }
    return fail(ErrorKind::kCorrupt, "unknown message {}", number);
  }
  const auto headers = header.subspan<kHeadersBegin, kLengthBegin - kHeadersBegin>();
  if (request.command == MigrationCommand::kStart) {
    const std::uint64_t version = get(headers.first<kHeadersBegin>());
    if (version != kProtocolVersion) {
      return fail(ErrorKind::kUnsupported,
                  "its migration protocol is version {}, lamina knows version {}", version,
                  kProtocolVersion);
    }
  } else if (!is_zero(headers)) {
    return fail(ErrorKind::kCorrupt, "message {} has headers that are not zero",
                name_of(request.command));
  }
  const LengthBounds bounds = bounds_of(request.command);
  if (request.length < bounds.least || request.length > bounds.most) {
    return fail(ErrorKind::kCorrupt, "message {} has {} bytes; {} to {} are possible",
                name_of(request.command), request.length, bounds.least, bounds.most);
  }
  return request;
}

MigrationHeader encode_answer(MigrationAnswer answer) {
  return encode(static_cast<std::uint16_t>(answer), 0);
}

Result<MigrationAnswer> decode_answer(std::span<const std::byte, kMigrationHeaderBytes> header) {
  const std::uint64_t status = get(header.first<kHeadersBegin>());
  const bool is_known = status == static_cast<std::uint16_t>(MigrationAnswer::kOk) ||
                        status == static_cast<std::uint16_t>(MigrationAnswer::kError);
  if (!is_known || !is_zero(header.subspan<kHeadersBegin>())) {
    return fail(ErrorKind::kCorrupt, "unknown answer {}", status);
  }
  return static_cast<MigrationAnswer>(status);
}

std::array<std::byte, kMemorySlotBytes> encode_slot(std::uint32_t slot) {
  std::array<std::byte, kMemorySlotBytes> payload{};
  put(payload, slot);
  return payload;
}

std::uint32_t decode_slot(std::span<const std::byte, kMemorySlotBytes> payload) {
  return static_cast<std::uint32_t>(get(payload));
}

}  // namespace lamina::vmm
