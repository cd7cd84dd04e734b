#include "bare_threads.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <deque>

#include "base/error.h"

namespace lamina::bench {
namespace {

/// Until the stop event (no server) comes. What cannot be filled leaves its guest waiting, which
/// ends when its benchmark is interrupted.
void serve(int epoll) {
  constexpr int kEventsAtOnce = 64;
  std::array<epoll_event, kEventsAtOnce> events{};
  std::deque<FaultServer*> unfinished;
  while (true) {
    const int timeout_ms = unfinished.empty() ? -1 : 0;
    const int count = ::epoll_wait(epoll, events.data(), kEventsAtOnce, timeout_ms);
    for (int i = 0; i < count; ++i) {
      auto* server = static_cast<FaultServer*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (server == nullptr) return;
      const bool had_more = server->has_more();
      static_cast<void>(server->handle_events());
      if (server->has_more() && !had_more) unfinished.push_back(server);
    }
    if (count != 0 || unfinished.empty()) continue;
    FaultServer* server = unfinished.front();
    unfinished.pop_front();
    static_cast<void>(server->do_more());
    if (server->has_more()) unfinished.push_back(server);
  }
}

}  // namespace

Status BareThreads::watch(int epoll, int fd, FaultServer* server) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = server;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return system_failure("epoll_ctl", "bare threads", errno);
}

Status BareThreads::start(std::size_t count,
                          const std::vector<std::unique_ptr<ConnectedGuest>>& guests,
                          const FaultInput& input) {
  stop_ = os::Fd(::eventfd(0, EFD_CLOEXEC));
  if (!stop_.valid()) return system_failure("eventfd", "bare threads", errno);
  for (std::size_t i = 0; i < count; ++i) {
    epolls_.emplace_back(::epoll_create1(EPOLL_CLOEXEC));
    LAMINA_RETURN_IF_ERROR(watch(epolls_.back().get(), stop_.get(), nullptr));
  }
  for (std::size_t i = 0; i < guests.size(); ++i) {
    servers_.push_back(std::make_unique<FloorServer>(
        *guests[i], input, pager::FaultLimits{}, FloorSource::kMapping, FloorOrder::kPageFirst));
    LAMINA_RETURN_IF_ERROR(
        watch(epolls_[i % count].get(), guests[i]->userfaultfd.get(), servers_.back().get()));
  }
  for (const os::Fd& epoll : epolls_) threads_.emplace_back(serve, epoll.get());
  return {};
}

BareThreads::~BareThreads() {
  const std::uint64_t one = 1;
  if (stop_.valid()) static_cast<void>(!::write(stop_.get(), &one, sizeof(one)));
  for (std::thread& thread : threads_) thread.join();
}

}  // namespace lamina::bench
