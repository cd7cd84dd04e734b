// The page servers that wait for frames: connections to a fetcher's socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "object_store/poller.h"
#include "os/fd.h"
#include "store/arrival.h"

namespace lamina::remote {

/// Not thread-safe.
class FetchClients {
 public:
  /// Listens at `path`, where nobody else does. `poller` must outlive this.
  static Result<FetchClients> listen(object_store::Poller& poller, std::string path);

  /// Called with each request, and a function's result: the frames that the client waits for now.
  using Ask = std::function<std::set<std::uint32_t>(const store::BlockRequest&)>;

  /// Handles a descriptor that is ready: accepts, or reads requests.
  void handle(int fd, const Ask& ask);

  /// Frames have arrived: tells the clients that have asked for one of them.
  void tell_arrived(const std::set<std::uint32_t>& frames);
  void tell_all();

 private:
  struct Client {
    os::Fd socket;
    std::vector<std::byte> unread;  ///< a part of a request
    std::set<std::uint32_t> waits_for;
  };

  FetchClients(object_store::Poller& poller, std::string path, os::Fd listening)
      : poller_(&poller), path_(std::move(path)), listening_(std::move(listening)) {}
  void accept_all();
  /// False: the client has gone.
  bool read_requests(Client& client, const Ask& ask);
  static void tell(const Client& client);

  object_store::Poller* poller_;
  std::string path_;
  os::Fd listening_;
  std::map<int, Client> clients_;
};

}  // namespace lamina::remote
