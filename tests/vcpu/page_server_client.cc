#include "page_server_client.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "payload.h"

namespace lamina::tests {
namespace {

Result<sys::Fd> register_regions(std::span<const std::span<std::byte>> regions) {
  sys::Fd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (!fd.valid()) return system_failure("userfaultfd", "guest memory", errno);
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_EVENT_REMOVE;
  if (::ioctl(fd.get(), UFFDIO_API, &api) != 0)
    return system_failure("UFFDIO_API", "guest memory", errno);
  for (const std::span<std::byte> region : regions) {
    uffdio_register registration{};
    registration.range = {reinterpret_cast<std::uint64_t>(region.data()), region.size()};
    registration.mode = UFFDIO_REGISTER_MODE_MISSING;
    if (::ioctl(fd.get(), UFFDIO_REGISTER, &registration) != 0) {
      return system_failure("UFFDIO_REGISTER", "guest memory", errno);
    }
  }
  return fd;
}

Result<sys::Fd> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorKind::kUsage, "socket path '{}' is too long", path);
  }
  std::memcpy(static_cast<char*>(address.sun_path), path.c_str(), path.size());
  sys::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return system_failure("socket", path, errno);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return system_failure("connect", path, errno);
  }
  return socket;
}

std::string regions_json(std::span<const std::span<std::byte>> regions) {
  std::string json = "[";
  std::size_t offset = 0;
  for (const std::span<std::byte> region : regions) {
    if (offset > 0) json += ",";
    json += fmt::format(
        R"({{"base_host_virt_addr":{},"size":{},"offset":{},"page_size":{},"page_size_kib":{}}})",
        reinterpret_cast<std::uint64_t>(region.data()), region.size(), offset, kPageBytes,
        kPageBytes);
    offset += region.size();
  }
  return json + "]";
}

Status send_with_descriptor(int socket, std::string text, int descriptor) {
  iovec vector{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
    return system_failure("sendmsg", "page server", errno);
  }
  return {};
}

}  // namespace

Result<PageServerConnection> connect_to_page_server(const std::string& socket_path,
                                                    std::span<const std::span<std::byte>> regions) {
  PageServerConnection connection;
  LAMINA_ASSIGN_OR_RETURN(connection.userfaultfd, register_regions(regions));
  LAMINA_ASSIGN_OR_RETURN(connection.socket, connect_to(socket_path));
  LAMINA_RETURN_IF_ERROR(send_with_descriptor(connection.socket.get(), regions_json(regions),
                                              connection.userfaultfd.get()));
  return connection;
}

}  // namespace lamina::tests
