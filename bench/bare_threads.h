// The floor of serving many guests: threads that do nothing but poll and fill.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "fault_servers.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "touching_guest.h"

namespace lamina::bench {

class BareThreads {
 public:
  BareThreads() = default;
  BareThreads(const BareThreads&) = delete;
  BareThreads& operator=(const BareThreads&) = delete;
  BareThreads(BareThreads&&) = delete;
  BareThreads& operator=(BareThreads&&) = delete;
  /// Stops the threads.
  ~BareThreads();

  /// Serves the guests by FloorServers on `count` threads, each its share of them.
  Status start(std::size_t count, const std::vector<std::unique_ptr<ConnectedGuest>>& guests,
               const FaultInput& input);

 private:
  Status watch(int epoll, int fd, FaultServer* server);

  os::Fd stop_;
  std::vector<std::unique_ptr<FaultServer>> servers_;
  std::vector<os::Fd> epolls_;
  std::vector<std::thread> threads_;
};

}  // namespace lamina::bench
