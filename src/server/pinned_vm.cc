#include "server/pinned_vm.h"

#include <string_view>
#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/path_walk.h"
#include "os/process.h"
#include "store/areas.h"
#include "store/name.h"
#include "store/store.h"

namespace lamina::server {

std::string VmPin::snapshot_path() const {
  if (!facts || facts->snapshot.empty()) return {};
  const std::string area = os::parent_of(path);
  const auto named = store::parse_snapshot_path(os::parent_of(area) + "/" + facts->snapshot);
  return named && named->name == facts->snapshot ? named->path : std::string();
}

Result<VmPin> pin_of_peer(const std::string& store, const os::Peer& peer,
                          std::uint64_t start_time) {
  VmPin pin;
  pin.path =
      fmt::format("{}/{}/{}", store, store::kVmsArea, os::process_name(peer.pid, start_time));
  pin.base = pin.path + "/" + store::kPinBaseName;
  LAMINA_ASSIGN_OR_RETURN(const store::StoreIdentity here, store::identity_of_store(store));
  auto facts = store::read_own_pin_facts(pin.path, here);
  if (!facts && facts.error().kind == ErrorKind::kNotFound) {
    return fail(ErrorKind::kFailed, "it was not resumed from a snapshot of store '{}'", store);
  }
  if (!facts) return std::unexpected(facts.error());
  if (facts->pid != peer.pid || facts->start_time != start_time ||
      !store::is_running(*facts).value_or(false)) {
    return fail(ErrorKind::kFailed, "'{}' is the pin of another process", pin.path);
  }
  if (facts->uid != peer.uid) {
    return fail(ErrorKind::kFailed, "it is of user {}, the VM of '{}' of user {}", peer.uid,
                pin.path, facts->uid);
  }
  pin.facts = std::move(*facts);
  return pin;
}

std::optional<VmPin> pin_of_record(const pager::VmRecord& record) {
  const std::string_view suffix = store::kPinBaseName;
  VmPin pin;
  pin.base = record.snapshot;
  pin.path = os::parent_of(pin.base);
  const std::string expected =
      fmt::format("/{}/{}", store::kVmsArea, os::process_name(record.pid, record.start_time));
  if (!pin.path.ends_with(expected) || pin.base != fmt::format("{}/{}", pin.path, suffix)) {
    return std::nullopt;
  }
  auto facts = store::read_pin_facts(pin.path);
  if (facts) pin.facts = std::move(*facts);
  return pin;
}

}  // namespace lamina::server
