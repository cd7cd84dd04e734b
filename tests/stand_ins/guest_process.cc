#include "stand_ins/guest_process.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "stand_ins/page_server_connection.h"

namespace lamina::tests {

Gate::Gate() : eventfd_(::eventfd(0, EFD_CLOEXEC)) {
  if (eventfd_ < 0) std::abort();
}

Gate::~Gate() { ::close(eventfd_); }

void Gate::open() const {
  if (::eventfd_write(eventfd_, 1) != 0) std::abort();
}

void Gate::wait() const {
  // Not read: others may wait, too.
  pollfd waiting{eventfd_, POLLIN, 0};
  while (::poll(&waiting, 1, -1) != 1) {
  }
}

std::vector<GuestRegion> map_regions(const GuestLayout& layout) {
  std::vector<GuestRegion> regions;
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < layout.region_bytes.size(); ++i) {
    const std::size_t bytes = layout.region_bytes[i];
    if (!layout.memory_offsets.empty()) offset = layout.memory_offsets[i];
    std::byte* memory = map_region(bytes, layout.huge_pages);
    if (memory == nullptr) ::_exit(kExitUnavailable);
    regions.push_back({memory, bytes, offset});
    offset += bytes;
  }
  return regions;
}

pid_t start_guest(const std::string& socket_path, const GuestLayout& layout,
                  const std::function<int(std::span<GuestRegion>)>& guest) {
  const pid_t process = ::fork();
  if (process != 0) return process;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (layout.gate != nullptr) layout.gate->wait();
  if (!layout.keeps_descriptors) ::close_range(STDERR_FILENO + 1, ~0U, 0);
  std::vector<GuestRegion> regions = map_regions(layout);
  const auto connection = connect_to_page_server(
      socket_path, regions, layout.huge_pages ? kGuestHugePageBytes : kGuestPageBytes);
  ::_exit(connection ? guest(regions) : kExitNoServer);
}

int wait_for(pid_t process) {
  int status = 0;
  ::waitpid(process, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace lamina::tests
