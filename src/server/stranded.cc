#include "server/stranded.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "os/process.h"
#include "store/areas.h"
#include "store/pin.h"
#include "store/store.h"

namespace lamina::server {
namespace {

constexpr std::chrono::seconds kInterval{5};

}  // namespace

void StrandedVms::look_if_due(const StateDirectory& states, Totals& totals, const Log& log) {
  const Clock::time_point now = Clock::now();
  if (store_ == nullptr || now < next_) return;
  next_ = now + kInterval;
  const auto pins = store::list_pins(store_->path());
  // A copied store has the pins of VMs that the original's server serves.
  const auto here = store::identity_of(store_->fd(), store_->path());
  if (!pins || !here) return;
  std::set<std::string> found;
  for (const std::string& pin : *pins) {
    if (!is_stranded(states, *here, pin)) continue;
    if (!suspects_.contains(pin)) {
      found.insert(pin);
      continue;
    }
    const auto killed = kill_if_waiting(pin);
    if (killed && !*killed) continue;
    if (killed) ++totals.vms_killed;
    log(killed
            ? fmt::format("VM {} was killed: the server that it had connected to died before it "
                          "had put it on record, and no server can fill its memory",
                          pin)
            : fmt::format("VM {} waits for pages that no server can give it, and cannot be killed: "
                          "{}",
                          pin, one_line(killed.error())));
  }
  suspects_ = std::move(found);
}

void StrandedVms::postpone() {
  suspects_.clear();
  next_ = Clock::now() + kInterval;
}

int StrandedVms::due_ms() const {
  if (store_ == nullptr) return -1;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next_ - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0)) + 1;
}

bool StrandedVms::is_stranded(const StateDirectory& states, const store::StoreIdentity& here,
                              const std::string& pin) const {
  if (states.has(pin)) return false;
  const auto facts = store::read_own_pin_facts(
      fmt::format("{}/{}/{}", store_->path(), store::kVmsArea, pin), here);
  return facts && facts->by_page_faults && store::is_running(*facts).value_or(false) &&
         os::waits_for_pages(facts->pid).value_or(false);
}

}  // namespace lamina::server
