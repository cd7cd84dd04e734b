#include "operations/pin_summary.h"

#include <fcntl.h>

#include "base/error.h"
#include "operations/disk_use.h"
#include "operations/snapshot_summary.h"
#include "os/directory.h"
#include "os/process.h"
#include "store/areas.h"
#include "store/pin.h"

namespace lamina::operations {
namespace {

/// How often a base is read again if it is exchanged meanwhile.
constexpr int kBaseAttempts = 3;

std::optional<Uuid> base_pause_id(int pin, const std::string& path) {
  const std::string base_path = path + "/" + store::kPinBaseName;
  for (int attempt = 0; attempt < kBaseAttempts; ++attempt) {
    const auto base = os::open_directory(pin, store::kPinBaseName, base_path);
    if (!base) return std::nullopt;
    const auto pause_id = pause_id_of(base->get(), base_path);
    if (pause_id) return pause_id;
  }
  return std::nullopt;
}

void take(const store::PinFacts& facts, const store::StoreIdentity& here, PinListing& listing) {
  listing.pid = facts.pid;
  listing.foreign = store::why_foreign(facts.belongs_to, here);
  // If it cannot be found out, the VM counts as running.
  listing.running = listing.foreign.empty() && store::is_running(facts).value_or(true);
  listing.snapshot = facts.snapshot;
  listing.since = facts.since;
  listing.by_page_faults = facts.by_page_faults;
  listing.map = facts.map;
}

/// A pin that has no facts yet: a pause or a resume of the VM has just made it. If the VM does not
/// run, a process that was killed has left it.
bool is_new(const Error& error, const std::string& name) {
  const auto process = os::parse_process_name(name);
  return error.kind == ErrorKind::kNotFound && process &&
         os::is_running(process->pid, process->start_time).value_or(false);
}

}  // namespace

std::vector<PinSummary> summarize_pins(const std::string& path, std::vector<std::string>& notes) {
  std::vector<PinSummary> pins;
  const auto names = store::list_pins(path);
  if (!names) {
    notes.push_back("the running VMs are not known: " + one_line(names.error()));
    return pins;
  }
  if (names->empty()) return pins;
  const auto here = store::identity_of_store(path);
  if (!here) {
    notes.push_back("the store's identity is not known: " + one_line(here.error()));
    return pins;
  }
  for (const std::string& name : *names) {
    const std::string pin_path = fmt::format("{}/{}/{}", path, store::kVmsArea, name);
    PinSummary pin;
    pin.listing.name = name;
    if (const auto process = os::parse_process_name(name)) pin.listing.pid = process->pid;
    const auto directory = store::open_in_store(pin_path);
    if (!directory) {
      if (directory.error().kind == ErrorKind::kNotFound) continue;
      pin.listing.error = directory.error();
      pins.push_back(std::move(pin));
      continue;
    }
    const auto facts = store::read_pin_facts(pin_path);
    if (facts) {
      take(*facts, *here, pin.listing);
    } else if (!os::name_exists(AT_FDCWD, pin_path)) {
      continue;
    } else if (is_new(facts.error(), name)) {
      pin.listing.running = true;
    } else {
      pin.listing.error = facts.error();
    }
    pin.listing.base_pause_id = base_pause_id(directory->get(), pin_path);
    pin.files = files_below(directory->get(), pin_path).files;
    pins.push_back(std::move(pin));
  }
  return pins;
}

bool is_used_by(const PinListing& pin, const std::optional<Uuid>& pause_id,
                const std::string& name) {
  if (!pin.running) return false;
  if (pin.base_pause_id && pause_id) return pin.base_pause_id == pause_id;
  return pin.snapshot == name;
}

}  // namespace lamina::operations
