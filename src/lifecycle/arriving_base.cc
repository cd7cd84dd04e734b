#include "lifecycle/arriving_base.h"

#include <poll.h>

#include <chrono>
#include <utility>

#include "base/error.h"
#include "lifecycle/page_server_process.h"
#include "os/directory.h"
#include "os/long_wait.h"
#include "store/areas.h"
#include "store/arrival.h"
#include "store/open_store.h"

namespace lamina::lifecycle {
namespace {

constexpr int kLookAgainMs = 20;
constexpr std::chrono::seconds kLookAfterServer{1};

Result<std::optional<store::Arrival>> arrival_of_base(const store::Pin& pin) {
  if (!pin.has_base()) return std::nullopt;
  LAMINA_ASSIGN_OR_RETURN(const os::Fd base, store::open_in_store(pin.base_path()));
  return store::arrival_of(base.get(), pin.base_path());
}

}  // namespace

Result<ResumeSource> find_to_resume(const store::SnapshotPath& snapshot,
                                    std::vector<std::string>& notes) {
  ResumeSource source;
  source.path = snapshot.path;
  const auto found = store::find_arrival(snapshot.store, snapshot.name);
  // What the store says otherwise is said by those that open the snapshot.
  if (!found || !*found) return source;
  LAMINA_ASSIGN_OR_RETURN(source.store, store::StoreSource().open(snapshot.store, notes));
  LAMINA_ASSIGN_OR_RETURN(source.lock, source.store->wait_for_lock(snapshot.name));
  // It may have become whole meanwhile. If another snapshot has got the name, that one is meant.
  LAMINA_ASSIGN_OR_RETURN(const auto arrival, store::find_arrival(snapshot.store, snapshot.name));
  if (!arrival || os::name_exists(source.store->fd(), snapshot.name)) {
    source.lock.reset();
    return source;
  }
  source.path = arrival->snapshot_path();
  source.is_arriving = true;
  notes.push_back(store::describe_arrival(*arrival));
  return source;
}

Status wait_until_whole(const store::Store& store, const store::Pin& pin,
                        const std::vector<std::string>& page_server_command, Progress& interruption,
                        std::vector<std::string>& notes) {
  using Clock = std::chrono::steady_clock;
  const os::LongWait waiting;
  const Clock::time_point start = Clock::now();
  Clock::time_point next_look = start;
  while (true) {
    LAMINA_ASSIGN_OR_RETURN(const auto arrival, arrival_of_base(pin));
    if (!arrival) break;
    if (arrival->map.state() == store::ArrivalState::kLost) {
      return fail(ErrorKind::kFailed, "the VM's memory cannot be stored: {}",
                  store::describe_arrival(*arrival));
    }
    if (interruption.interrupted()) return fail(ErrorKind::kInterrupted, "interrupted");
    const Clock::time_point now = Clock::now();
    const auto limit = arrival->facts.wait_limit;
    if (limit.count() != 0 && now - start > limit) {
      return fail(ErrorKind::kBusy, "what the VM was resumed from has not arrived within {} s: {}",
                  limit.count(), store::describe_arrival(*arrival));
    }
    if (now >= next_look) {
      // If it cannot be started, the next look tries again.
      static_cast<void>(ensure_page_server(store, page_server_command));
      next_look = Clock::now() + kLookAfterServer;
    }
    ::poll(nullptr, 0, kLookAgainMs);
  }
  const auto waited_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
  if (waited_ms >= kLookAgainMs) {
    notes.push_back(
        fmt::format("waited {} ms for what the VM was resumed from to arrive", waited_ms));
  }
  return {};
}

}  // namespace lamina::lifecycle
