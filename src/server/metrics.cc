#include "server/metrics.h"

#include <fmt/format.h>

#include <array>
#include <iterator>
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
    constexpr double kMicrosecondsPerSecond = 1e6;
    constexpr double kNanosecondsPerSecond = 1e9;
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
                   static_cast<double>(counters.latency_sum_ns.get()) / kNanosecondsPerSecond);
    sample("fault_seconds_count", "", sum);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

}  // namespace

void add_counters(VmCounters& sum, const VmCounters& more) {
  for (Counter VmCounters::* const counter : kCounters) (sum.*counter).add((more.*counter).get());
  for (std::size_t i = 0; i < sum.latency.size(); ++i) sum.latency[i].add(more.latency[i].get());
}

std::string format_metrics(const Totals& totals, std::optional<pid_t> supervisor) {
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
  return text.take();
}

}  // namespace lamina::server
