#include "server/succession.h"

#include <optional>

#include "base/error.h"

namespace lamina::server {

void Succession::begin(const HandoverState& handover) {
  if (trial_.runs() || is_decided_) return;
  const Status begun = trial_.begin(command_, handover);
  if (!begun) say_failed(one_line(begun.error()));
}

bool Succession::take_outcome() {
  const std::optional<Status> outcome = trial_.take_outcome();
  if (!outcome) return false;
  if (!*outcome) {
    say_failed(one_line(outcome->error()));
    return false;
  }
  is_decided_ = true;
  return true;
}

void Succession::execute(const HandoverState& handover, os::ServiceManager& manager) {
  manager.to_environment();
  const Error failed = exec_successor(command_, handover, Purpose::kSucceed);
  manager = os::ServiceManager::from_environment();
  is_decided_ = false;
  say_failed(failed.message);
}

void Succession::forget() {
  trial_.forget();
  is_decided_ = false;
}

void Succession::say_failed(const std::string& why) const {
  log_(fmt::format("no new process takes this one's place: {}", why));
}

}  // namespace lamina::server
