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
using pager::VmCounters;

constexpr std::array kCounters = {
    &VmCounters::data_faults,   &VmCounters::zero_faults,   &VmCounters::present_faults,
    &VmCounters::data_bytes,    &VmCounters::zero_bytes,    &VmCounters::removes,
    &VmCounters::reread_events, &VmCounters::read_retries,  &VmCounters::populated_bytes,
    &VmCounters::resumptions,   &VmCounters::latency_sum_ns};

constexpr double kMicrosecondsPerSecond = 1e6;
constexpr double kNsPerSecond = 1e9;
/// A fault that takes so long has waited for the network, or for a busy disk. 2^14 µs.
constexpr std::size_t kFirstSlowBucket = 15;

std::uint64_t sum_of(std::span<const Counter> counters) {
  std::uint64_t sum = 0;
  for (const Counter& counter : counters) sum += counter.get();
  return sum;
}

/// The upper bound of the bucket of that quantile, in seconds; of the last bucket, which has none,
/// its lower one. NaN without a fault.
double quantile_of(const VmCounters& counters, double quantile) {
  const auto total = static_cast<double>(sum_of(counters.latency));
  if (total == 0) return std::nan("");
  double sum = 0;
  std::size_t bucket = 0;
  while (bucket + 2 < counters.latency.size()) {
    sum += static_cast<double>(counters.latency[bucket].get());
    if (sum >= quantile * total) break;
    ++bucket;
  }
  return static_cast<double>(std::uint64_t{1} << bucket) / kMicrosecondsPerSecond;
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
  void latency(const VmCounters& counters) {
    describe("fault_seconds", "histogram", "From reading a fault's event to its page being there.");
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < counters.latency.size(); ++i) {
      sum += counters.latency[i].get();
      const double bound = static_cast<double>(std::uint64_t{1} << i) / kMicrosecondsPerSecond;
      const bool last = i + 1 == counters.latency.size();
      sample("fault_seconds_bucket", last ? "{le=\"+Inf\"}" : fmt::format("{{le=\"{}\"}}", bound),
             sum);
    }
    fmt::format_to(std::back_inserter(text_), "lamina_fault_seconds_sum {}\n",
                   static_cast<double>(counters.latency_sum_ns.get()) / kNsPerSecond);
    sample("fault_seconds_count", "", sum);
  }
  template <typename Value>
  void of_each(std::span<const VmFigures> vms, std::string_view name, std::string_view type,
               std::string_view help, Value value) {
    describe(name, type, help);
    for (const VmFigures& vm : vms) sample(name, label_of(vm), value(vm));
  }
  void latency_of_each(std::span<const VmFigures> vms) {
    describe("vm_fault_seconds", "summary", "The same for each VM; quantiles are powers of two.");
    for (const VmFigures& vm : vms) {
      for (const double quantile : {0.5, 0.99}) {
        const double seconds = quantile_of(*vm.counters, quantile);
        fmt::format_to(std::back_inserter(text_),
                       "lamina_vm_fault_seconds{{vm=\"{}\",quantile=\"{}\"}} {}\n", vm.name,
                       quantile, std::isnan(seconds) ? "NaN" : fmt::to_string(seconds));
      }
      fmt::format_to(std::back_inserter(text_), "lamina_vm_fault_seconds_sum{} {}\n", label_of(vm),
                     static_cast<double>(vm.counters->latency_sum_ns.get()) / kNsPerSecond);
      sample("vm_fault_seconds_count", label_of(vm), sum_of(vm.counters->latency));
    }
  }
  std::string take() { return std::move(text_); }

 private:
  static std::string label_of(const VmFigures& vm) { return fmt::format("{{vm=\"{}\"}}", vm.name); }

  std::string text_;
};

}  // namespace

void add_counters(VmCounters& sum, const VmCounters& more) {
  for (Counter VmCounters::* const counter : kCounters) (sum.*counter).add((more.*counter).get());
  for (std::size_t i = 0; i < sum.latency.size(); ++i) sum.latency[i].add(more.latency[i].get());
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
  text.latency(all);
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
  text.latency_of_each(vms);
  return text.take();
}

}  // namespace lamina::server
