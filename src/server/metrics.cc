#include "server/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <span>
#include <string_view>

namespace lamina::server {
namespace {

using pager::Counter;
using pager::NetworkWaits;
using pager::VmCounters;

constexpr std::array kCounters = {
    &VmCounters::data_faults,   &VmCounters::zero_faults,   &VmCounters::present_faults,
    &VmCounters::data_bytes,    &VmCounters::zero_bytes,    &VmCounters::removes,
    &VmCounters::reread_events, &VmCounters::read_retries,  &VmCounters::populated_bytes,
    &VmCounters::resumptions,   &VmCounters::latency_sum_ns};

constexpr double kMicrosecondsPerSecond = 1e6;
constexpr double kMillisecondsPerSecond = 1e3;
constexpr double kNsPerSecond = 1e9;
/// A fault that takes so long has waited for the network, or for a busy disk. 2^14 µs.
constexpr std::size_t kFirstSlowBucket = 15;

std::uint64_t sum_of(std::span<const Counter> counters) {
  std::uint64_t sum = 0;
  for (const Counter& counter : counters) sum += counter.get();
  return sum;
}

/// The upper bound of the bucket of that quantile, in units of the first bound; of the last bucket,
/// which has none, its lower one. NaN without a sample.
double quantile_of(std::span<const Counter> buckets, double quantile) {
  const auto total = static_cast<double>(sum_of(buckets));
  if (total == 0) return std::nan("");
  double sum = 0;
  std::size_t bucket = 0;
  while (bucket + 2 < buckets.size()) {
    sum += static_cast<double>(buckets[bucket].get());
    if (sum >= quantile * total) break;
    ++bucket;
  }
  return static_cast<double>(std::uint64_t{1} << bucket);
}

/// A histogram: buckets whose upper bounds are 1, 2, 4 ... times a unit.
struct Times {
  std::span<const Counter> buckets;
  double units_per_second;
  std::uint64_t sum_ns;
};

Times fault_times(const VmCounters& counters) {
  return {counters.latency, kMicrosecondsPerSecond, counters.latency_sum_ns.get()};
}
Times wait_times(const NetworkWaits& waits) {
  return {waits.buckets, kMillisecondsPerSecond, waits.sum_ns.get()};
}

class Text {
 public:
  void describe(std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(std::back_inserter(text_), "# HELP lamina_{0} {2}\n# TYPE lamina_{0} {1}\n",
                   name, type, help);
  }
  void sample(std::string_view name, std::string_view labels, std::uint64_t value) {
    fmt::format_to(std::back_inserter(text_), "lamina_{}{} {}\n", name, labels, value);
  }
  void one(std::string_view name, std::string_view type, std::string_view help,
           std::uint64_t value) {
    describe(name, type, help);
    sample(name, "", value);
  }
  void histogram(std::string_view name, std::string_view help, const Times& times) {
    describe(name, "histogram", help);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < times.buckets.size(); ++i) {
      sum += times.buckets[i].get();
      const double bound = static_cast<double>(std::uint64_t{1} << i) / times.units_per_second;
      const bool last = i + 1 == times.buckets.size();
      sample(fmt::format("{}_bucket", name),
             last ? "{le=\"+Inf\"}" : fmt::format("{{le=\"{}\"}}", bound), sum);
    }
    seconds(fmt::format("{}_sum", name), "", static_cast<double>(times.sum_ns) / kNsPerSecond);
    sample(fmt::format("{}_count", name), "", sum);
  }
  template <typename Value>
  void of_each(std::span<const VmFigures> vms, std::string_view name, std::string_view type,
               std::string_view help, Value value) {
    describe(name, type, help);
    for (const VmFigures& vm : vms) sample(name, label_of(vm), value(vm));
  }
  void summary_of_each(std::span<const VmFigures> vms, std::string_view name, std::string_view help,
                       Times (*times_of)(const VmFigures& vm)) {
    describe(name, "summary", help);
    for (const VmFigures& vm : vms) {
      const Times times = times_of(vm);
      for (const double quantile : {0.5, 0.99}) {
        seconds(name, fmt::format("{{vm=\"{}\",quantile=\"{}\"}}", vm.name, quantile),
                quantile_of(times.buckets, quantile) / times.units_per_second);
      }
      seconds(fmt::format("{}_sum", name), label_of(vm),
              static_cast<double>(times.sum_ns) / kNsPerSecond);
      sample(fmt::format("{}_count", name), label_of(vm), sum_of(times.buckets));
    }
  }
  std::string take() { return std::move(text_); }

 private:
  void seconds(std::string_view name, std::string_view labels, double value) {
    fmt::format_to(std::back_inserter(text_), "lamina_{}{} {}\n", name, labels,
                   std::isnan(value) ? "NaN" : fmt::to_string(value));
  }
  static std::string label_of(const VmFigures& vm) { return fmt::format("{{vm=\"{}\"}}", vm.name); }

  std::string text_;
};

}  // namespace

void add_counters(VmCounters& sum, const VmCounters& more) {
  for (Counter VmCounters::* const counter : kCounters) (sum.*counter).add((more.*counter).get());
  for (std::size_t i = 0; i < sum.latency.size(); ++i) sum.latency[i].add(more.latency[i].get());
}

void add_waits(NetworkWaits& sum, const NetworkWaits& more) {
  sum.waiting.add(more.waiting.get());
  sum.sum_ns.add(more.sum_ns.get());
  for (std::size_t i = 0; i < sum.buckets.size(); ++i) sum.buckets[i].add(more.buckets[i].get());
}

std::string format_metrics(const Totals& totals, std::span<const VmFigures> vms,
                           std::optional<pid_t> supervisor) {
  const VmCounters& all = totals.counters;
  Text text;
  if (supervisor) {
    text.one("supervisor_pid", "gauge", "Process that receives the server's signals.",
             static_cast<std::uint64_t>(*supervisor));
  }
  text.one("sessions", "gauge", "VMs that are served.", totals.sessions_running);
  text.one("sessions_started_total", "counter", "VMs that were served.", totals.sessions_started);
  text.describe("faults_total", "counter", "Page faults, by what answered them.");
  text.sample("faults_total", "{kind=\"data\"}", all.data_faults.get());
  text.sample("faults_total", "{kind=\"zero\"}", all.zero_faults.get());
  text.sample("faults_total", "{kind=\"present\"}", all.present_faults.get());
  text.describe("filled_bytes_total", "counter", "Bytes filled into VMs.");
  text.sample("filled_bytes_total", "{kind=\"data\"}", all.data_bytes.get());
  text.sample("filled_bytes_total", "{kind=\"zero\"}", all.zero_bytes.get());
  text.one("populated_bytes_total", "counter", "Bytes settled without a fault.",
           all.populated_bytes.get());
  text.one("removes_total", "counter", "Ranges that guests gave back.", all.removes.get());
  text.one("reread_events_total", "counter", "Fills that had to read events first.",
           all.reread_events.get());
  text.one("read_retries_total", "counter", "Reads of a layer that were tried again.",
           all.read_retries.get());
  text.one("vms_killed_total", "counter", "VMs killed because a page could not be served.",
           totals.vms_killed);
  text.one("peers_refused_total", "counter", "Peers that were refused.", totals.peers_refused);
  text.one("vms_reacquired_total", "counter", "VMs taken over from a server that was gone.",
           totals.vms_reacquired);
  text.one("worker_restarts_total", "counter", "Serving processes that were succeeded.",
           totals.worker_restarts);
  text.one("resumptions_total", "counter", "VMs that a serving process took over.",
           all.resumptions.get());
  text.histogram("fault_seconds", "From reading a fault's event to its page being there.",
                 fault_times(all));
  text.histogram("network_wait_seconds",
                 "The same of faults whose blocks had yet to be fetched from a bucket.",
                 wait_times(totals.network_waits));
  text.one("network_waiting_faults", "gauge", "Faults that wait for a bucket now.",
           totals.network_waits.waiting.get());
  text.of_each(vms, "vm_memory_bytes", "gauge", "Memory of each VM that is served.",
               [](const VmFigures& vm) { return vm.memory_bytes; });
  text.of_each(vms, "vm_filled_bytes_total", "counter", "Bytes filled into each VM.",
               [](const VmFigures& vm) {
                 return vm.counters->data_bytes.get() + vm.counters->zero_bytes.get();
               });
  text.of_each(vms, "vm_populated_bytes_total", "counter",
               "Bytes of each VM settled without a fault.",
               [](const VmFigures& vm) { return vm.counters->populated_bytes.get(); });
  text.of_each(vms, "vm_slow_faults_total", "counter",
               "Faults of 16 ms or more: they waited for the network, or for a disk.",
               [](const VmFigures& vm) {
                 return sum_of(std::span(vm.counters->latency).subspan(kFirstSlowBucket));
               });
  text.summary_of_each(vms, "vm_fault_seconds",
                       "The same as lamina_fault_seconds for each VM; quantiles are powers of two.",
                       [](const VmFigures& vm) { return fault_times(*vm.counters); });
  text.summary_of_each(vms, "vm_network_wait_seconds",
                       "Of each VM, the faults whose blocks had yet to be fetched from a bucket.",
                       [](const VmFigures& vm) { return wait_times(*vm.network_waits); });
  text.of_each(vms, "vm_network_waiting_faults", "gauge",
               "Faults of each VM that wait for a bucket now.",
               [](const VmFigures& vm) { return vm.network_waits->waiting.get(); });
  return text.take();
}

}  // namespace lamina::server
