// A session's link to the process that fetches its snapshot.
//
// The link connects to the fetcher's socket, and starts a fetcher if none listens there. It sends
// requests, which are hints, and hears that something has arrived. What has arrived is in the map
// (store/arrival_map.h), not in messages: so a fetcher, a link or a message can be lost at any
// time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "lamina/result.h"
#include "os/fd.h"
#include "pager/arriving_blocks.h"
#include "store/arrival.h"

namespace lamina::server {

class ArrivalLink : public pager::ArrivingBlocks {
 public:
  static Result<std::unique_ptr<pager::ArrivingBlocks>> create(
      std::shared_ptr<const store::Arrival> arrival);
  ArrivalLink(const ArrivalLink&) = delete;
  ArrivalLink& operator=(const ArrivalLink&) = delete;
  ArrivalLink(ArrivalLink&&) = delete;
  ArrivalLink& operator=(ArrivalLink&&) = delete;
  /// Waits while a fetcher is being started.
  ~ArrivalLink() override;

  [[nodiscard]] bool are_here(const BlockRun& run) const noexcept override;
  [[nodiscard]] bool is_whole() const noexcept override;
  [[nodiscard]] bool is_lost() const noexcept override;
  void ask(const BlockRun& run, bool is_damaged) noexcept override;
  [[nodiscard]] std::uint64_t answers() const noexcept override { return answers_; }
  [[nodiscard]] int fd() const noexcept override { return epoll_.get(); }
  void handle() noexcept override;
  [[nodiscard]] std::optional<std::uint64_t> next_tick_ns() const noexcept override;
  bool tick(std::uint64_t now_ns) noexcept override;
  [[nodiscard]] std::uint64_t wait_limit_ns() const noexcept override { return wait_limit_ns_; }

 private:
  ArrivalLink(std::shared_ptr<const store::Arrival> arrival, os::Fd epoll);

  bool connect();
  void disconnect() noexcept;
  /// In a thread, because a program that starts takes some milliseconds.
  void start_fetcher();

  std::shared_ptr<const store::Arrival> arrival_;
  os::Fd epoll_;
  os::Fd socket_;
  std::uint64_t wait_limit_ns_ = 0;
  bool has_ended_ = false;  ///< tick() has seen it
  std::uint64_t next_tick_ns_ = 0;
  std::uint64_t pause_ns_ = 0;  ///< before the next attempt
  std::uint64_t answers_ = 0;
  std::atomic<bool> is_starting_ = false;
  std::thread starter_;
};

}  // namespace lamina::server
