#include "daemon/recoverer.h"

#include <utility>

#include "lamina/listing.h"
#include "schema/report_json.h"

namespace lamina::daemon {
namespace {

bool did_something(const RecoverReport& report) {
  return report.completed + report.discarded + report.queued + report.released_pins +
             report.removed_maps + report.resumed_vms + report.removed_arrivals +
             report.notes.size() >
         0;
}

}  // namespace

Recoverer::Recoverer(std::string store, std::vector<std::string> page_server_command,
                     std::function<std::chrono::seconds()> interval, Metrics& metrics,
                     Events& events, Merger& merger, Pusher& pusher)
    : store_(std::move(store)),
      page_server_command_(std::move(page_server_command)),
      interval_(std::move(interval)),
      metrics_(metrics),
      events_(events),
      merger_(merger),
      pusher_(pusher),
      thread_([this] { work(); }) {}

Recoverer::~Recoverer() {
  stop();
  thread_.join();
}

void Recoverer::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

bool Recoverer::has_recovered() const {
  const std::scoped_lock lock(mutex_);
  return recovered_;
}

bool Recoverer::has_ended() const {
  const std::scoped_lock lock(mutex_);
  return ended_;
}

Result<RecoverReport> Recoverer::recover(RecoverOptions options) {
  options.store = store_;
  options.page_server_command = page_server_command_;
  auto report = lamina::recover(options);
  // A directory that is not a store yet has nothing to recover.
  if (options.dry_run || (!report && report.error().kind == ErrorKind::kNotFound)) return report;
  metrics_.count_recover(report);
  if (!report) {
    events_.add(Level::kError, "recover", error_fields(report.error()));
  } else if (did_something(*report)) {
    events_.add(report->queued > 0 ? Level::kWarning : Level::kInfo, "recover",
                schema::to_json(schema::RecoverAnswer{*report, false}));
  }
  return report;
}

void Recoverer::work() {
  bool is_first = true;
  while (true) {
    try {
      if (is_first) pusher_.look();  // a recovery may wait for a VM
      is_first = false;
      static_cast<void>(recover({}));
      report_layers();
      pusher_.look();
    } catch (const std::exception& exception) {
      log(Level::kError, "recover", {{"message", exception.what()}});
    }
    std::unique_lock lock(mutex_);
    recovered_ = true;
    changed_.wait_for(lock, interval_(), [this] { return stopping_; });
    ended_ = stopping_;
    if (stopping_) return;
  }
}

void Recoverer::report_layers() {
  const auto listing = list_store(store_);
  if (!listing) return;
  for (const SnapshotListing& snapshot : listing->snapshots) {
    if (!snapshot.error && snapshot.layers > 1) merger_.listed(snapshot.name, snapshot.layers);
  }
}

}  // namespace lamina::daemon
