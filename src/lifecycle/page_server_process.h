// The store's page server: a process that outlives the one that started it.
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

/// Makes sure that a page server runs for the store. If none does, starts `command` in a session of
/// its own, with its output appended to <store>/.vms/page-server.log, and waits until it is ready
/// (READY=1 to $NOTIFY_SOCKET). Returns whether it was started. kFailed, with the last line of the
/// log, if it ends instead; kFailed if none runs and `command` is empty, or if the one that runs
/// cannot serve, and says so for a second and a half. kInterrupted once `give_up` (an event's
/// descriptor, or -1) is readable.
Result<bool> ensure_page_server(const store::Store& store, const std::vector<std::string>& command,
                                int give_up = -1);

/// As long as this exists, restarts the page server if it ends: a VM that is being loaded or
/// captured waits for its pages, and the caller waits with it. As a Progress it ends such a wait if
/// no page server could be started for 10 s, or the one that runs could not serve for 10 s; or if
/// the VM waits for a page, has got none for 20 s, and the page server has not answered at its
/// control socket meanwhile (for example because it is stopped). If the caller's limit is shorter
/// than 10 s it takes the place of 10 s, and of the half of 20 s that no query takes. The
/// destructor waits up to 10 s for a query that is under way.
class PageServerWatch : public Progress {
 public:
  /// `store` and `command` must outlive it. `limit`: of the caller, for short requests. `vm`: the
  /// server is needed only while a thread of that process waits for a page, because a VM whose
  /// memory is filled needs none. -1: at any time.
  static Result<std::unique_ptr<PageServerWatch>> start(const store::Store& store,
                                                        const std::vector<std::string>& command,
                                                        std::chrono::milliseconds limit,
                                                        pid_t vm = -1);
  PageServerWatch(const PageServerWatch&) = delete;
  PageServerWatch& operator=(const PageServerWatch&) = delete;
  PageServerWatch(PageServerWatch&&) = delete;
  PageServerWatch& operator=(PageServerWatch&&) = delete;
  ~PageServerWatch() override;

  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {}
  void advance(std::uint64_t /*bytes*/) override {}
  [[nodiscard]] bool interrupted() override { return failure().has_value(); }

  /// Why no page server serves the VM; nullopt while one does or may yet. Thread-safe.
  [[nodiscard]] std::optional<Error> failure() const;

 private:
  PageServerWatch(const store::Store& store, const std::vector<std::string>& command,
                  std::chrono::milliseconds longest_without, pid_t vm, os::Event over)
      : store_(store),
        command_(command),
        longest_without_(longest_without),
        vm_(vm),
        over_(std::move(over)) {}

  [[nodiscard]] bool needs_pages() const;

  using Clock = std::chrono::steady_clock;

  /// Whether the VM has got pages since the last call. False if that is not known.
  bool gets_pages();
  Result<bool> start_if_none(StoreServer found, std::string_view cause);
  void watch();
  /// Checks once. `failing_since`: when it first found no server and could not start one.
  void look(Clock::time_point& failing_since);

  const store::Store& store_;
  const std::vector<std::string>& command_;
  const std::chrono::milliseconds longest_without_;  ///< a server, before that is a failure
  const pid_t vm_;
  std::int64_t resident_kib_ = 0;  ///< of the VM, at the last check
  os::Event over_;
  mutable Mutex mutex_;
  std::optional<Error> failure_ LAMINA_GUARDED_BY(mutex_);
  std::thread thread_;  ///< the last: it uses the others
};

}  // namespace lamina::lifecycle
