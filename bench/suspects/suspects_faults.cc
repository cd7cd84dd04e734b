// The suspects of page faults: ways of serving them that are not taken.
#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"
#include "bench.h"
#include "os/machine.h"
#include "suspects_loop.h"

namespace lamina::bench {

namespace {

bool wants_any(const Bench& bench) {
  const std::string& filter = bench.options().filter;
  return std::ranges::any_of(
      std::array{"suspect-spin", "suspect-pinning", "suspect-event-batch", "suspect-wake",
                 "suspect-zeropage", "suspect-populate", "suspect-move", "suspect-dirty-tracking"},
      [&](const char* name) {
        return bench.wants(name) || filter.find(name) != std::string::npos;
      });
}

}  // namespace

Status run_fault_suspects(Bench& bench) {
  if (!wants_any(bench)) return {};
  const os::MachineFacts machine = os::examine_machine();
  if (!machine.userfaultfd) {
    bench.skip("suspects of page faults", machine.userfaultfd_error);
    return {};
  }
  const std::string file = bench.directory() + "/suspect-layer";
  LAMINA_ASSIGN_OR_RETURN(const auto layer, BareLayer::create(file, bench.memory_blocks()));
  for (Status (*topic)(Bench&, const BareLayer&) :
       {run_spin_suspects, run_loop_suspects, run_zeropage_suspects, run_populate_suspects,
        run_populate_product_suspects, run_move_suspects, run_dirty_suspects}) {
    LAMINA_RETURN_IF_ERROR(topic(bench, *layer));
  }
  return remove_all(file);
}

}  // namespace lamina::bench
