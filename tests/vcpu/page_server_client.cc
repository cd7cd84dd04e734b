#include "page_server_client.h"

#include <array>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "base/error.h"
#include "fake_firecracker.h"
#include "payload.h"

namespace lamina::tests {

Result<PageServerConnection> connect_to_page_server(const std::string& socket_path,
                                                    std::span<const std::span<std::byte>> regions) {
  PageServerConnection connection;
  connection.userfaultfd = os::Fd(open_userfaultfd());
  std::vector<GuestRegion> registered;
  std::uint64_t offset = 0;
  for (const std::span<std::byte> region : regions) {
    register_memory(connection.userfaultfd.get(), region.data(), region.size());
    registered.push_back({region.data(), region.size(), offset});
    offset += region.size();
  }
  connection.socket = os::Fd(connect_to(socket_path));
  if (!connection.socket.valid()) return system_failure("connect", socket_path, errno);
  const std::array<int, 1> descriptors = {connection.userfaultfd.get()};
  if (!send_with_descriptors(connection.socket.get(), regions_json(registered, kPageBytes),
                             descriptors)) {
    return system_failure("sendmsg", socket_path, errno);
  }
  return connection;
}

}  // namespace lamina::tests
