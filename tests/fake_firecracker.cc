#include "fake_firecracker.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>

namespace lamina::tests {
namespace {

constexpr int kCannot = 77;
constexpr int kBroken = 78;
constexpr std::size_t kMaxDescriptors = 64;

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(static_cast<char*>(address.sun_path), path.c_str(), sizeof(address.sun_path) - 1);
  return address;
}

std::vector<GuestRegion> map_regions(const GuestLayout& layout, int userfaultfd) {
  std::vector<GuestRegion> regions;
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < layout.region_bytes.size(); ++i) {
    const std::size_t bytes = layout.region_bytes[i];
    if (!layout.memory_offsets.empty()) offset = layout.memory_offsets[i];
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          layout.huge_pages ? flags | MAP_HUGETLB : flags, -1, 0);
    if (memory == MAP_FAILED) ::_exit(kCannot);
    register_memory(userfaultfd, static_cast<std::byte*>(memory), bytes);
    regions.push_back({static_cast<std::byte*>(memory), bytes, offset});
    offset += bytes;
  }
  return regions;
}

}  // namespace

int open_userfaultfd(std::uint64_t more_features) {
  const int fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_EVENT_REMOVE | more_features;
  if (fd < 0 || ::ioctl(fd, UFFDIO_API, &api) != 0) ::_exit(kCannot);
  return fd;
}

void register_memory(int userfaultfd, const std::byte* memory, std::size_t bytes) {
  uffdio_register registration{};
  registration.range = {reinterpret_cast<std::uint64_t>(memory), bytes};
  registration.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (::ioctl(userfaultfd, UFFDIO_REGISTER, &registration) != 0) ::_exit(kCannot);
}

GuestMemory map_guest(const GuestLayout& layout) {
  const int userfaultfd = open_userfaultfd();
  return {userfaultfd, map_regions(layout, userfaultfd)};
}

int connect_to(const std::string& path) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return -1;
  const sockaddr_un address = address_of(path);
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return socket;
  }
  ::close(socket);
  return -1;
}

std::string regions_json(std::span<const GuestRegion> regions, std::size_t page_bytes) {
  std::string json = "[";
  for (const GuestRegion& region : regions) {
    if (json.size() > 1) json += ",";
    json += "{\"base_host_virt_addr\":" +
            std::to_string(reinterpret_cast<std::uint64_t>(region.memory)) +
            ",\"size\":" + std::to_string(region.size_bytes) +
            ",\"offset\":" + std::to_string(region.memory_offset) +
            ",\"page_size\":" + std::to_string(page_bytes) +
            ",\"page_size_kib\":" + std::to_string(page_bytes) + "}";
  }
  return json + "]";
}

bool send_with_descriptors(int socket, std::string text, std::span<const int> descriptors) {
  iovec vector{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

pid_t start_guest(const std::string& socket_path, const GuestLayout& layout,
                  const std::function<int(std::span<GuestRegion>)>& guest) {
  const pid_t process = ::fork();
  if (process != 0) return process;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (!layout.keeps_descriptors) ::close_range(STDERR_FILENO + 1, ~0U, 0);
  GuestMemory memory = map_guest(layout);
  if (layout.before_connecting) layout.before_connecting();
  const int socket = connect_to(socket_path);
  constexpr std::size_t kPageBytes = 4096;
  constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
  const std::array<int, 1> descriptors = {memory.userfaultfd};
  const std::string json =
      regions_json(memory.regions, layout.huge_pages ? kHugePageBytes : kPageBytes);
  if (socket < 0 || !send_with_descriptors(socket, json, descriptors)) ::_exit(kBroken);
  ::_exit(guest(memory.regions));
}

int listen_at(const std::string& path) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = address_of(path);
  if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(socket, 16) != 0) {
    return -1;
  }
  return socket;
}

int wait_for(pid_t process) {
  int status = 0;
  ::waitpid(process, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace lamina::tests
