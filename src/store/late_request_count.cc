#include "store/late_request_count.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <ranges>
#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/owner.h"
#include "store/areas.h"
#include "store/store_identity.h"

namespace lamina {
namespace store {
namespace {

using Field = std::uint64_t LateRequests::*;

/// In the order in which they are stored. Readers begin at the end, so that they never see more
/// outcomes than requests.
constexpr std::array<std::pair<const char*, Field>, 3> kLateEvents = {{
    {"late-sent", &LateRequests::sent},
    {"late-won", &LateRequests::won},
    {"late-given-up", &LateRequests::given_up},
}};

std::string late_file_name(const char* event, const StoreIdentity& identity) {
  return fmt::format("{}@{}", event, stable_name(identity));
}

/// Appends `count` bytes to a file. `stored` grows by those that were.
Status append_events(int fd, const std::string& path, std::uint64_t count, std::uint64_t& stored) {
  constexpr std::array<std::byte, 256> kEvents{};
  while (count > 0) {
    const std::size_t size = std::min<std::uint64_t>(count, kEvents.size());
    const ssize_t written = ::write(fd, kEvents.data(), size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return system_failure("write", path, written < 0 ? errno : EIO);
    count -= static_cast<std::uint64_t>(written);
    stored += static_cast<std::uint64_t>(written);
  }
  return {};
}

}  // namespace

Status LateRequestCount::store(const LateRequests& counts) {
  if (counts == stored_) return {};
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, store_, store_));
  LAMINA_ASSIGN_OR_RETURN(const StoreIdentity identity, identity_of(directory.get(), store_));
  const std::string area_path = fmt::format("{}/{}", store_, kCountsArea);
  LAMINA_RETURN_IF_ERROR(os::make_directory(directory.get(), kCountsArea, area_path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area,
                          os::open_directory(directory.get(), kCountsArea, area_path));
  LAMINA_RETURN_IF_ERROR(os::check_owner(area.get(), area_path));
  for (const auto& [event, field] : kLateEvents) {
    if (counts.*field == stored_.*field) continue;
    const std::string name = late_file_name(event, identity);
    const std::string path = area_path + "/" + name;
    LAMINA_ASSIGN_OR_RETURN(
        const os::OpenedFile file,
        os::open_regular(area.get(), name, O_WRONLY | O_APPEND | O_CREAT, path));
    LAMINA_RETURN_IF_ERROR(
        append_events(file.fd.get(), path, counts.*field - stored_.*field, stored_.*field));
  }
  return {};
}

}  // namespace store

Result<LateRequests> late_requests_of(const std::string& store) {
  LateRequests counts;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, store, store));
  LAMINA_ASSIGN_OR_RETURN(const store::StoreIdentity identity,
                          store::identity_of(directory.get(), store));
  const std::string area_path = fmt::format("{}/{}", store, store::kCountsArea);
  const auto area = os::open_directory(directory.get(), store::kCountsArea, area_path);
  if (!area) {
    if (area.error().kind == ErrorKind::kNotFound) return counts;
    return std::unexpected(area.error());
  }
  for (const auto& [event, field] : std::views::reverse(store::kLateEvents)) {
    const std::string name = store::late_file_name(event, identity);
    const auto facts = os::facts_of_name(area->get(), name, area_path + "/" + name);
    if (facts && facts->is_regular) counts.*field = facts->size_bytes;
    if (!facts && facts.error().kind != ErrorKind::kNotFound) {
      return std::unexpected(facts.error());
    }
  }
  return counts;
}

}  // namespace lamina
