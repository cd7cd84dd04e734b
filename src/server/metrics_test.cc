#include "server/metrics.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace lamina::server {
namespace {

TEST(ServerMetrics, EachVmHasItsOwnLines) {
  pager::VmCounters busy;
  busy.latency[3].add(98);  // up to 8 us
  busy.latency[10].add(1);  // up to 1.024 ms
  busy.latency[15].add(1);  // more than 16 ms
  busy.latency_sum_ns.add(2'000'000'000);
  busy.data_bytes.add(4096);
  busy.zero_bytes.add(8192);
  busy.populated_bytes.add(12288);
  pager::NetworkWaits waits;
  waits.waiting.set(3);
  waits.buckets[5].add(2);  // up to 32 ms
  waits.sum_ns.add(50'000'000);
  const pager::VmCounters idle;
  const pager::NetworkWaits none;
  const std::array vms{VmFigures{"7-1", 1 << 20, &busy, &waits},
                       VmFigures{"8-2", 1 << 21, &idle, &none}};
  const std::string text = format_metrics({}, vms, std::nullopt);
  for (const char* line : {"lamina_vm_memory_bytes{vm=\"7-1\"} 1048576\n",
                           "lamina_vm_memory_bytes{vm=\"8-2\"} 2097152\n",
                           "lamina_vm_filled_bytes_total{vm=\"7-1\"} 12288\n",
                           "lamina_vm_populated_bytes_total{vm=\"7-1\"} 12288\n",
                           "lamina_vm_slow_faults_total{vm=\"7-1\"} 1\n",
                           "lamina_vm_slow_faults_total{vm=\"8-2\"} 0\n",
                           "lamina_vm_fault_seconds{vm=\"7-1\",quantile=\"0.5\"} 8e-06\n",
                           "lamina_vm_fault_seconds{vm=\"7-1\",quantile=\"0.99\"} 0.001024\n",
                           "lamina_vm_fault_seconds{vm=\"8-2\",quantile=\"0.99\"} NaN\n",
                           "lamina_vm_network_wait_seconds{vm=\"7-1\",quantile=\"0.5\"} 0.032\n",
                           "lamina_vm_network_wait_seconds{vm=\"8-2\",quantile=\"0.5\"} NaN\n",
                           "lamina_vm_network_wait_seconds_sum{vm=\"7-1\"} 0.05\n",
                           "lamina_vm_network_wait_seconds_count{vm=\"7-1\"} 2\n",
                           "lamina_vm_network_waiting_faults{vm=\"7-1\"} 3\n",
                           "lamina_vm_network_waiting_faults{vm=\"8-2\"} 0\n",
                           "lamina_vm_fault_seconds_sum{vm=\"7-1\"} 2\n",
                           "lamina_vm_fault_seconds_count{vm=\"7-1\"} 100\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

TEST(ServerMetrics, AQuantileBeyondTheLastBoundIsThatBound) {
  pager::VmCounters counters;
  counters.latency.back().add(5);
  const pager::NetworkWaits waits;
  const std::array vms{VmFigures{"7-1", 4096, &counters, &waits}};
  EXPECT_NE(format_metrics({}, vms, std::nullopt).find("quantile=\"0.5\"} 4.194304\n"),
            std::string::npos);
}

TEST(ServerMetrics, WaitsForTheNetworkAreAHistogramOfAllVms) {
  pager::NetworkWaits ended;
  ended.buckets[0].add(1);
  ended.sum_ns.add(500'000);
  pager::NetworkWaits running;
  running.waiting.set(2);
  running.buckets[10].add(4);
  running.sum_ns.add(4'000'000'000);
  Totals totals;
  add_waits(totals.network_waits, ended);
  add_waits(totals.network_waits, running);
  const std::string text = format_metrics(totals, {}, std::nullopt);
  for (const char* line :
       {"# TYPE lamina_network_wait_seconds histogram\n",
        "lamina_network_wait_seconds_bucket{le=\"0.001\"} 1\n",
        "lamina_network_wait_seconds_bucket{le=\"0.512\"} 1\n",
        "lamina_network_wait_seconds_bucket{le=\"1.024\"} 5\n",
        "lamina_network_wait_seconds_bucket{le=\"+Inf\"} 5\n",
        "lamina_network_wait_seconds_sum 4.0005\n", "lamina_network_wait_seconds_count 5\n",
        "lamina_network_waiting_faults 2\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

}  // namespace
}  // namespace lamina::server
