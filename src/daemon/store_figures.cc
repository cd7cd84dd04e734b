#include "daemon/store_figures.h"

#include <algorithm>

#include "lamina/serve.h"

namespace lamina::daemon {
namespace {

constexpr std::chrono::seconds kMaxAge{10};

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
      "Sums over snapshots: shared counts a file in each that has it; dead is superseded.");
  text.sample("snapshot_bytes", "{kind=\"own\"}", number(own));
  text.sample("snapshot_bytes", "{kind=\"shared\"}", number(shared));
  text.sample("snapshot_bytes", "{kind=\"dead\"}", number(dead));
  text.describe("allocated_bytes", "gauge", "Each file once, where it is met first.");
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
  text.one("queued_pauses", "gauge", "Pauses under way, or acknowledged and not yet snapshots.",
           static_cast<double>(queued));
  text.one("running_vms", "gauge", "VMs with a pin that run.", static_cast<double>(running));
}

}  // namespace

void StoreFigures::changed() {
  const std::scoped_lock lock(mutex_);
  is_fresh_ = false;
}

void StoreFigures::write(MetricsText& text) {
  const std::scoped_lock lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (!is_fresh_ || now - looked_ > kMaxAge) {
    listing_ = list_store(store_, {.dead_bytes = true});
    is_fresh_ = true;
    looked_ = now;
  }
  text.one("store_readable", "gauge", "1 while the store can be listed.", listing_ ? 1 : 0);
  if (!listing_) return;
  write_chains(*listing_, text);
  write_bytes(*listing_, text);
  write_vms(*listing_, text);
}

std::string StoreFigures::of_page_server() {
  const std::unique_lock asking(asking_, std::try_to_lock);
  if (!asking.owns_lock()) return {};
  auto metrics = read_serve_metrics(page_server_metrics_socket(store_));
  return metrics ? std::move(*metrics) : std::string();
}

}  // namespace lamina::daemon
