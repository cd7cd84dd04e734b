#include "stand_ins/firecracker/state_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/bytes.h"
#include "base/error.h"
#include "os/file.h"
#include "stand_ins/firecracker/guest_mapping.h"

namespace lamina::tests {
namespace {

constexpr std::uint64_t kMagic = 0x3254534d56454b46;  // "FKEVMST2"
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 32;
constexpr std::size_t kMaxRegions = 4;
constexpr std::size_t kMaxNetworks = 64;
constexpr std::uint64_t kMaxMemoryBytes = std::uint64_t{1} << 42;

std::unexpected<Error> damaged(const std::string& why) {
  return fail(ErrorKind::kCorrupt, "Failed to get snapshot state from file: {}", why);
}

void put_text(ByteWriter& body, const std::string& text) {
  body.put(static_cast<std::uint32_t>(text.size()));
  body.put_bytes(std::as_bytes(std::span(text)));
}

std::string get_text(ByteReader& body) {
  std::string text;
  for (const std::byte byte : body.get_bytes(body.get<std::uint32_t>())) {
    text += static_cast<char>(byte);
  }
  return text;
}

std::vector<std::byte> encode(const VmState& state) {
  ByteWriter body;
  put_text(body, state.guest_id);
  body.put(state.creates);
  body.put(state.random);
  body.put(state.vcpus);
  body.put(state.memory_mib);
  body.put(state.hotplug_mib);
  body.put(state.plugged_mib);
  put_text(body, state.huge_pages);
  body.put(static_cast<std::uint8_t>(state.has_vsock ? 1 : 0));
  body.put(static_cast<std::uint8_t>(state.has_queues ? 1 : 0));
  body.put(static_cast<std::uint32_t>(state.networks.size()));
  for (const std::string& id : state.networks) put_text(body, id);
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
  state.guest_id = get_text(body);
  state.creates = body.get<std::uint64_t>();
  state.random = body.get<std::uint64_t>();
  state.vcpus = body.get<std::uint64_t>();
  state.memory_mib = body.get<std::uint64_t>();
  state.hotplug_mib = body.get<std::uint64_t>();
  state.plugged_mib = body.get<std::uint64_t>();
  state.huge_pages = get_text(body);
  state.has_vsock = body.get<std::uint8_t>() != 0;
  state.has_queues = body.get<std::uint8_t>() != 0;
  const auto networks = body.get<std::uint32_t>();
  if (!body.ok() || networks > kMaxNetworks) return damaged("Invalid network devices");
  for (std::uint32_t i = 0; i < networks; ++i) state.networks.push_back(get_text(body));
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
  const std::uint64_t unplugged = (state.hotplug_mib - state.plugged_mib) << 20;
  if (unplugged > total) return damaged("Invalid hotpluggable memory");
  auto pages = PageModel::decode(body, (total - unplugged) / kGuestPageBytes);
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
  const os::Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file.valid()) return failure("open");
  if (const Status written = os::write_at(file.get(), encode(state), 0, path); !written) {
    return fail(ErrorKind::kFailed, "Cannot serialize the microVM state: {}",
                written.error().message);
  }
  if (::fsync(file.get()) != 0) return failure("sync_all");
  return {};
}

Result<VmState> read_state_file(const std::string& path) {
  const os::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    return damaged(fmt::format("Failed to open snapshot file: {}", os_error_text(errno)));
  }
  const auto bytes = os::read_whole(file.get(), kMaxFileBytes, path);
  if (!bytes) return damaged(bytes.error().message);
  return decode(*bytes);
}

}  // namespace lamina::tests
