#include "daemon/store_status.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "lamina/serve.h"

namespace lamina::daemon {
namespace {

constexpr std::chrono::seconds kMaxAge{10};
constexpr std::chrono::seconds kFiguresMaxWait{2};
constexpr std::chrono::seconds kMetricsMaxWait{1};
constexpr std::chrono::seconds kServerMaxAge{1};

double number(std::uint64_t value) { return static_cast<double>(value); }

void write_chains(const StoreListing& listing, MetricsText& text) {
  std::uint64_t longest = 0;
  std::uint64_t sum = 0;
  std::uint64_t readable = 0;
  for (const SnapshotListing& snapshot : listing.snapshots) {
    if (snapshot.error) continue;
    ++readable;
    sum += snapshot.layers;
    longest = std::max<std::uint64_t>(longest, snapshot.layers);
  }
  text.one("snapshots", "gauge", "Snapshots in the store.", number(listing.snapshots.size()));
  text.one("damaged_snapshots", "gauge", "Snapshots that cannot be used as they are.",
           number(listing.snapshots.size() - readable));
  text.one("chain_layers_max", "gauge", "Layers of the longest chain.", number(longest));
  text.one("chain_layers_mean", "gauge", "Layers per snapshot.",
           readable == 0 ? 0 : number(sum) / number(readable));
}

void write_bytes(const StoreListing& listing, MetricsText& text) {
  std::uint64_t own = 0;
  std::uint64_t shared = 0;
  std::uint64_t dead = 0;
  for (const SnapshotListing& snapshot : listing.snapshots) {
    own += snapshot.own_bytes;
    shared += snapshot.shared_bytes;
    dead += snapshot.dead_bytes.value_or(0);
  }
  text.describe(
      "snapshot_bytes", "gauge",
      "Sums over snapshots: shared counts a file once for each snapshot; dead is superseded.");
  text.sample("snapshot_bytes", "{kind=\"own\"}", number(own));
  text.sample("snapshot_bytes", "{kind=\"shared\"}", number(shared));
  text.sample("snapshot_bytes", "{kind=\"dead\"}", number(dead));
  text.describe("allocated_bytes", "gauge", "Allocated bytes; each file is counted once.");
  text.sample("allocated_bytes", "{place=\"snapshots\"}", number(listing.totals.snapshot_bytes));
  text.sample("allocated_bytes", "{place=\"pins\"}", number(listing.totals.pin_bytes));
  text.sample("allocated_bytes", "{place=\"pending\"}", number(listing.totals.pending_bytes));
  text.sample("allocated_bytes", "{place=\"temporary\"}", number(listing.totals.temporary_bytes));
  text.sample("allocated_bytes", "{place=\"maps\"}", number(listing.totals.map_bytes));
}

void write_vms(const StoreListing& listing, MetricsText& text) {
  const auto queued = std::count_if(
      listing.pending.begin(), listing.pending.end(),
      [](const PendingListing& pending) { return pending.kind == PendingKind::kPause; });
  const auto running = std::count_if(listing.pins.begin(), listing.pins.end(),
                                     [](const PinListing& pin) { return pin.running; });
  text.one("queued_pauses", "gauge",
           "Running pauses, and acknowledged ones that are not yet snapshots.",
           static_cast<double>(queued));
  text.one("running_vms", "gauge", "Running VMs with a pin.", static_cast<double>(running));
}

void write_late_requests(const LateRequests& counts, MetricsText& text) {
  text.describe(
      "late_requests_total", "counter",
      "Requests to the bucket that were sent a second time because their answer was "
      "late, since the store was made: sent, won (the second answer was used), given_up.");
  text.sample("late_requests_total", "{event=\"sent\"}", number(counts.sent));
  text.sample("late_requests_total", "{event=\"won\"}", number(counts.won));
  text.sample("late_requests_total", "{event=\"given_up\"}", number(counts.given_up));
}

}  // namespace

Result<StoreStatus::Figures> StoreStatus::read(const std::string& store) {
  LAMINA_ASSIGN_OR_RETURN(StoreListing listing, list_store(store, {.dead_bytes = true}));
  Figures figures{.listing = std::move(listing), .late_requests = std::nullopt};
  if (const auto counts = late_requests_of(store)) figures.late_requests = *counts;
  return figures;
}

StoreStatus::StoreStatus(const std::string& store)
    : figures_([store] { return read(store); }, BackgroundValue<Result<Figures>>::First::kOnDemand),
      metrics_([store] { return read_serve_metrics(page_server_metrics_socket(store)); },
               BackgroundValue<Result<std::string>>::First::kOnDemand),
      page_server_([store] { return find_store_server(store) == StoreServer::kServes; },
                   BackgroundValue<bool>::First::kAtOnce) {}

void StoreStatus::write(MetricsText& text) {
  const auto reading = figures_.get(kMaxAge, kFiguresMaxWait);
  const bool is_readable = reading.value && *reading.value;
  text.one("store_readable", "gauge", "1 while the store can be listed.", is_readable ? 1 : 0);
  if (!is_readable) return;
  const std::chrono::duration<double> age = std::chrono::steady_clock::now() - reading.when;
  text.one("store_figures_age_seconds", "gauge", "Age of the figures below.", age.count());
  const auto& [listing, late_requests] = **reading.value;
  write_chains(listing, text);
  write_bytes(listing, text);
  write_vms(listing, text);
  if (late_requests) write_late_requests(*late_requests, text);
}

std::string StoreStatus::page_server_metrics() {
  const auto reading = metrics_.get({}, kMetricsMaxWait);
  const bool is_read = reading.is_fresh && *reading.value;
  // No page server is no failure.
  const bool is_missing =
      reading.is_fresh && !is_read && reading.value->error().kind == ErrorKind::kNotFound;
  MetricsText text;
  text.one("page_server_metrics_readable", "gauge",
           "0 if a page server runs, but its metrics, lamina_*, could not be read.",
           is_read || is_missing ? 1 : 0);
  return text.take() + (is_read ? **reading.value : std::string());
}

bool StoreStatus::has_page_server() {
  const auto reading = page_server_.get(kServerMaxAge, {});
  return reading.value && *reading.value;
}

void StoreStatus::stop() {
  figures_.stop();
  metrics_.stop();
  page_server_.stop();
}

bool StoreStatus::has_ended() const {
  return figures_.has_ended() && metrics_.has_ended() && page_server_.has_ended();
}

}  // namespace lamina::daemon
