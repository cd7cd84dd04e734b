#include "state_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/bytes.h"
#include "base/error.h"
#include "guest_mapping.h"
#include "sys/file.h"

namespace lamina::tests {
namespace {

constexpr std::uint64_t kMagic = 0x3154534d56454b46;  // "FKEVMST1"
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 32;
constexpr std::size_t kMaxRegions = 4;
constexpr std::uint64_t kMaxMemoryBytes = std::uint64_t{1} << 42;

std::unexpected<Error> damaged(const std::string& why) {
  return fail(ErrorKind::kCorrupt, "Failed to get snapshot state from file: {}", why);
}

std::vector<std::byte> encode(const VmState& state) {
  ByteWriter body;
  body.put(static_cast<std::uint32_t>(state.guest_id.size()));
  body.put_bytes(std::as_bytes(std::span(state.guest_id)));
  body.put(state.creates);
  body.put(state.random);
  body.put(state.vcpus);
  body.put(static_cast<std::uint32_t>(state.region_bytes.size()));
  body.put_column(std::span<const std::uint64_t>(state.region_bytes));
  state.pages.encode(body);
  ByteWriter file;
  file.put(kMagic);
  file.put(static_cast<std::uint64_t>(body.size()));
  file.put(crc32(body.view()));
  file.put_bytes(body.view());
  return file.take();
}

Result<VmState> decode(std::span<const std::byte> bytes) {
  ByteReader file(bytes);
  const auto magic = file.get<std::uint64_t>();
  const auto size = file.get<std::uint64_t>();
  const auto crc = file.get<std::uint32_t>();
  if (!file.ok() || magic != kMagic) return damaged("Invalid snapshot magic");
  if (size != file.remaining()) return damaged("Snapshot file is shorter or longer than it says");
  const auto rest = file.get_bytes(size);
  if (crc32(rest) != crc) return damaged("CRC validation failed");
  ByteReader body(rest);
  VmState state;
  for (const std::byte byte : body.get_bytes(body.get<std::uint32_t>())) {
    state.guest_id += static_cast<char>(byte);
  }
  state.creates = body.get<std::uint64_t>();
  state.random = body.get<std::uint64_t>();
  state.vcpus = body.get<std::uint64_t>();
  const auto regions = body.get<std::uint32_t>();
  if (!body.ok() || regions > kMaxRegions) return damaged("Invalid regions");
  state.region_bytes = body.get_column<std::uint64_t>(regions);
  std::uint64_t total = 0;
  for (const std::uint64_t region : state.region_bytes) {
    if (region == 0 || region % kGuestPageBytes != 0 || region > kMaxMemoryBytes) {
      return damaged("Invalid regions");
    }
    total += region;
  }
  auto pages = PageModel::decode(body, total / kGuestPageBytes);
  if (!pages) return damaged(pages.error().message);
  state.pages = std::move(*pages);
  return state;
}

}  // namespace

Status write_state_file(const std::string& path, const VmState& state) {
  const auto failure = [](const char* call) {
    return fail(ErrorKind::kFailed, "Cannot perform {} on the snapshot backing file: {}", call,
                os_error_text(errno));
  };
  const sys::Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file.valid()) return failure("open");
  if (const Status written = sys::write_at(file.get(), encode(state), 0, path); !written) {
    return fail(ErrorKind::kFailed, "Cannot serialize the microVM state: {}",
                written.error().message);
  }
  if (::fsync(file.get()) != 0) return failure("sync_all");
  return {};
}

Result<VmState> read_state_file(const std::string& path) {
  const sys::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    return damaged(fmt::format("Failed to open snapshot file: {}", os_error_text(errno)));
  }
  const auto bytes = sys::read_whole(file.get(), kMaxFileBytes, path);
  if (!bytes) return damaged(bytes.error().message);
  return decode(*bytes);
}

}  // namespace lamina::tests
