#include "server/arrival_link.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/path_walk.h"
#include "os/process.h"
#include "os/spawn.h"
#include "os/thread.h"
#include "os/unix_socket.h"

namespace lamina::server {
namespace {

constexpr std::uint64_t kFirstPauseNs = 50'000'000;
constexpr std::uint64_t kLongestPauseNs = 2'000'000'000;
/// A connected link asks again for what is still needed.
constexpr std::uint64_t kAskAgainNs = 500'000'000;
constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr std::uint64_t kMaxLogBytes = std::uint64_t{1} << 20;

/// The arrival's directory by its descriptor: the store may have been renamed.
std::string by_descriptor(const store::Arrival& arrival) {
  return fmt::format("/proc/self/fd/{}", arrival.directory.get());
}

Status start_fetcher_of(const store::Arrival& arrival) {
  LAMINA_ASSIGN_OR_RETURN(const std::string path, os::real_path(by_descriptor(arrival)));
  const std::string log_path = path + "/" + store::kArrivalLogName;
  const auto before = os::facts_of_name(arrival.directory.get(), store::kArrivalLogName, log_path);
  const bool is_long = before && before->size_bytes > kMaxLogBytes;
  LAMINA_ASSIGN_OR_RETURN(
      const os::OpenedFile log,
      os::open_regular(arrival.directory.get(), store::kArrivalLogName,
                       O_WRONLY | O_CREAT | O_APPEND | (is_long ? O_TRUNC : 0), log_path));
  os::SpawnRequest request;
  request.words = arrival.facts.fetch_command;
  request.words.insert(request.words.end(), {"--store", os::parent_of(os::parent_of(path)),
                                             arrival.facts.id.to_string()});
  request.output = log.fd.get();
  request.errors = log.fd.get();
  LAMINA_RETURN_IF_ERROR(os::spawn_detached(request));
  return {};
}

}  // namespace

ArrivalLink::ArrivalLink(std::shared_ptr<const store::Arrival> arrival, os::Fd epoll)
    : arrival_(std::move(arrival)),
      epoll_(std::move(epoll)),
      wait_limit_ns_(static_cast<std::uint64_t>(arrival_->facts.wait_limit.count()) *
                     kNanosecondsPerSecond),
      pause_ns_(kFirstPauseNs) {}

ArrivalLink::~ArrivalLink() {
  if (starter_.joinable()) starter_.join();
}

Result<std::unique_ptr<pager::ArrivingBlocks>> ArrivalLink::create(
    std::shared_ptr<const store::Arrival> arrival) {
  os::Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return system_failure("epoll_create", arrival->path, errno);
  return std::unique_ptr<pager::ArrivingBlocks>(
      new ArrivalLink(std::move(arrival), std::move(epoll)));
}

bool ArrivalLink::are_here(const BlockRun& run) const noexcept {
  return arrival_->map.has_blocks(run);
}

bool ArrivalLink::is_whole() const noexcept {
  return arrival_->map.state() == store::ArrivalState::kWhole;
}

bool ArrivalLink::is_lost() const noexcept {
  return arrival_->map.state() == store::ArrivalState::kLost;
}

void ArrivalLink::ask(const BlockRun& run, bool is_damaged) noexcept {
  if (!socket_.valid()) return;  // tick() connects, and everything is asked for again
  const auto message = store::encode_block_request({run, is_damaged});
  ssize_t sent = 0;
  do {
    sent = ::send(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  // A fetcher that is behind has enough to do; the request is repeated.
  if (sent == static_cast<ssize_t>(message.size()) || (sent < 0 && errno == EAGAIN)) return;
  disconnect();
}

void ArrivalLink::handle() noexcept {
  std::array<std::byte, 256> buffer{};
  while (socket_.valid()) {
    const ssize_t count = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count > 0) {
      ++answers_;
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    disconnect();
  }
}

std::optional<std::uint64_t> ArrivalLink::next_tick_ns() const noexcept {
  if (has_ended_ && is_whole()) return std::nullopt;
  // A link that is not connected must notice the end, too: faults wait for it. If objects are lost,
  // the next fault is noticed a moment later.
  if (!has_ended_ && arrival_->map.state() != store::ArrivalState::kArriving) return 0;
  return next_tick_ns_;
}

bool ArrivalLink::tick(std::uint64_t now_ns) noexcept {
  if (arrival_->map.state() != store::ArrivalState::kArriving) {
    disconnect();
    has_ended_ = true;
    next_tick_ns_ = now_ns + kFirstPauseNs;
    return false;
  }
  if (socket_.valid()) {
    next_tick_ns_ = now_ns + kAskAgainNs;
    return true;
  }
  const Status connected = contain("connect", [&]() -> Status {
    if (connect()) return {};
    start_fetcher();
    return fail(ErrorKind::kBusy, "a fetcher is being started");
  });
  if (connected) {
    pause_ns_ = kFirstPauseNs;
    next_tick_ns_ = now_ns + kAskAgainNs;
    return true;
  }
  next_tick_ns_ = now_ns + pause_ns_;
  pause_ns_ = std::min(2 * pause_ns_, kLongestPauseNs);
  return false;
}

bool ArrivalLink::connect() {
  const std::string path =
      fmt::format("{}/{}", by_descriptor(*arrival_), store::kArrivalSocketName);
  // One that does not accept is as good as none.
  auto socket = os::connect_to(path, std::chrono::milliseconds(1));
  if (!socket) return false;
  epoll_event event{};
  event.events = EPOLLIN;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket->get(), &event) != 0) return false;
  socket_ = std::move(*socket);
  return true;
}

void ArrivalLink::disconnect() noexcept {
  if (!socket_.valid()) return;
  static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket_.get(), nullptr));
  socket_ = os::Fd();
  next_tick_ns_ = os::monotonic_ns();
}

void ArrivalLink::start_fetcher() {
  if (arrival_->facts.fetch_command.empty() || is_starting_.exchange(true)) return;
  if (starter_.joinable()) starter_.join();
  auto started = os::start_thread("fetcher", [this] {
    static_cast<void>(contain("fetcher", [&] { return start_fetcher_of(*arrival_); }));
    is_starting_ = false;
  });
  if (started) {
    starter_ = std::move(*started);
  } else {
    is_starting_ = false;
  }
}

}  // namespace lamina::server
