#include "stand_ins/page_server_connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "stand_ins/sockets.h"

namespace lamina::tests {

Result<PageServerConnection> connect_to_page_server(const std::string& socket_path,
                                                    std::span<const GuestRegion> regions,
                                                    std::size_t page_bytes, os::Fd userfaultfd) {
  PageServerConnection connection;
  connection.userfaultfd =
      userfaultfd.valid() ? std::move(userfaultfd) : os::Fd(open_userfaultfd());
  for (const GuestRegion& region : regions) {
    register_memory(connection.userfaultfd.get(), region.memory, region.size_bytes);
  }
  connection.socket = os::Fd(connect_to(socket_path));
  if (!connection.socket.valid()) {
    return fail(ErrorKind::kFailed, "Failed to connect to UDS Unix stream: {}",
                os_error_text(errno));
  }
  const std::array<int, 1> descriptors = {connection.userfaultfd.get()};
  if (!send_with_descriptors(connection.socket.get(), regions_json(regions, page_bytes),
                             descriptors)) {
    return fail(ErrorKind::kFailed, "Failed to send file descriptor: {}", os_error_text(errno));
  }
  return connection;
}

int open_userfaultfd(std::uint64_t more_features) {
  const int fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_EVENT_REMOVE | more_features;
  if (fd < 0 || ::ioctl(fd, UFFDIO_API, &api) != 0) ::_exit(kExitUnavailable);
  return fd;
}

void register_memory(int userfaultfd, const std::byte* memory, std::size_t bytes) {
  uffdio_register registration{};
  registration.range = {reinterpret_cast<std::uint64_t>(memory), bytes};
  registration.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (::ioctl(userfaultfd, UFFDIO_REGISTER, &registration) != 0) ::_exit(kExitUnavailable);
}

std::string regions_json(std::span<const GuestRegion> regions, std::size_t page_bytes) {
  std::string json = "[";
  for (const GuestRegion& region : regions) {
    if (json.size() > 1) json += ",";
    json += fmt::format(
        "{{\"base_host_virt_addr\":{},\"size\":{},\"offset\":{},\"page_size\":{},"
        "\"page_size_kib\":{}}}",
        reinterpret_cast<std::uint64_t>(region.memory), region.size_bytes, region.memory_offset,
        page_bytes, page_bytes);
  }
  return json + "]";
}

std::string os_error_text(int number) {
  return fmt::format("{} (os error {})", std::strerror(number), number);
}

}  // namespace lamina::tests
