// The store's page server, as a process of its own that outlives the one that started it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/serve.h"
#include "os/event.h"
#include "store/store.h"

namespace lamina::lifecycle {

/// Makes sure that a page server runs for the store: when none does, starts `command` in a session
/// of its own, with its output appended to <store>/.vms/page-server.log, and waits until it says
/// that it is ready (READY=1 to $NOTIFY_SOCKET). Returns whether it was started. kFailed, with the
/// last line of the log, when it ends instead; and when none runs and `command` is empty. Gives up
/// (kInterrupted) when `give_up` can be read: an event's descriptor, or -1.
Result<bool> ensure_page_server(const store::Store& store, const std::vector<std::string>& command,
                                int give_up = -1);

/// Starts the page server anew when it is gone, for as long as this lives: a VM that is being
/// loaded or captured waits for its pages, and the caller would wait with it. As a Progress it ends
/// such a wait: when no page server could be started for ten seconds, or when the VM waits for a
/// page, has got none for twenty seconds, and the page server has not answered at its control
/// socket in that time (it is stopped, say). Its end waits for a question that is under way, for
/// ten seconds at most.
class PageServerWatch : public Progress {
 public:
  /// Both must outlive it. `vm`: only while a thread of that process waits for a page; one whose
  /// memory is filled needs no server. -1: at any time.
  static Result<std::unique_ptr<PageServerWatch>> start(const store::Store& store,
                                                        const std::vector<std::string>& command,
                                                        pid_t vm = -1);
  PageServerWatch(const PageServerWatch&) = delete;
  PageServerWatch& operator=(const PageServerWatch&) = delete;
  PageServerWatch(PageServerWatch&&) = delete;
  PageServerWatch& operator=(PageServerWatch&&) = delete;
  ~PageServerWatch() override;

  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {}
  void advance(std::uint64_t /*bytes*/) override {}
  [[nodiscard]] bool interrupted() override { return failure().has_value(); }

  /// Why no page server serves the VM; nothing while one does or may yet. Thread-safe.
  [[nodiscard]] std::optional<Error> failure() const;

 private:
  PageServerWatch(const store::Store& store, const std::vector<std::string>& command, pid_t vm,
                  os::Event over)
      : store_(store), command_(command), vm_(vm), over_(std::move(over)) {}

  [[nodiscard]] bool needs_pages() const;

  using Clock = std::chrono::steady_clock;

  /// Whether the VM has got pages since this was asked before. False when it cannot be told.
  bool gets_pages();
  Result<bool> start_if_none(StoreServer found);
  void watch();
  /// One look; `failing_since` is when it first found no server, and none could be started.
  void look(Clock::time_point& failing_since);

  const store::Store& store_;
  const std::vector<std::string>& command_;
  const pid_t vm_;
  std::int64_t resident_kib_ = 0;  ///< of the VM, when it was last looked at
  os::Event over_;
  mutable Mutex mutex_;
  std::optional<Error> failure_ LAMINA_GUARDED_BY(mutex_);
  std::thread thread_;  ///< the last: it uses the others
};

}  // namespace lamina::lifecycle
