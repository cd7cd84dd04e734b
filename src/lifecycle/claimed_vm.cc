#include "lifecycle/claimed_vm.h"

#include <optional>
#include <utility>

#include "base/error.h"
#include "lifecycle/last_create.h"
#include "lifecycle/visibility.h"
#include "lifecycle/vm.h"
#include "os/path_walk.h"
#include "store/open_store.h"

namespace lamina::lifecycle {
namespace {

/// What is claimed before anything is asked of the VMM.
struct Claim {
  Jail jail;
  std::shared_ptr<const store::Store> store;
  std::optional<store::Pin> pin;
};

Status claim_process(const vmm::Vmm& found, const std::string& store,
                     std::vector<std::string>& notes, const WhenPinned& when_pinned, Claim& claim) {
  LAMINA_RETURN_IF_ERROR(claim.jail.check_process(found.pid()));
  LAMINA_ASSIGN_OR_RETURN(store::Store opened, store::open_store(store, notes));
  claim.store = std::make_shared<const store::Store>(std::move(opened));
  if (!claim.jail.is_apart()) {
    // The VMM is told paths in it, and takes UTF-8 only.
    LAMINA_ASSIGN_OR_RETURN(const std::string path, recorded_path(claim.store->path()));
    LAMINA_RETURN_IF_ERROR(check_finds_store(found.pid(), path));
  }
  LAMINA_ASSIGN_OR_RETURN(store::Pin pin,
                          store::Pin::claim(*claim.store, found.pid(), found.start_time()));
  claim.pin.emplace(std::move(pin));
  if (when_pinned) LAMINA_RETURN_IF_ERROR(when_pinned(*claim.store, *claim.pin));
  return lock_vm(found);
}

Result<AnyClaimedVm> claimed_of(vmm::AnyVmm vmm, Claim& claim, const VmmAddress& address) {
  if (auto* firecracker = std::get_if<vmm::Firecracker>(&vmm)) {
    return ClaimedVm{std::move(claim.jail), std::move(*firecracker), std::move(claim.store),
                     std::move(*claim.pin)};
  }
  if (!address.jail.empty()) {
    return with_remedy(
        fail(ErrorKind::kUnsupported,
             "a Cloud Hypervisor in a jail is not supported: it must see the store's files"),
        "leave out `jail`");
  }
  LAMINA_ASSIGN_OR_RETURN(std::string pin_path, os::real_path(claim.pin->path()));
  return ClaimedCloudHypervisor{std::move(std::get<vmm::CloudHypervisor>(vmm)),
                                std::move(claim.store), std::move(*claim.pin), std::move(pin_path)};
}

}  // namespace

Result<AnyClaimedVm> claim_vm(const VmmAddress& address, const std::string& store,
                              Progress* progress, std::vector<std::string>& notes,
                              const WhenPinned& when_pinned) {
  LAMINA_ASSIGN_OR_RETURN(Jail jail, Jail::open(address.jail));
  Claim claim{std::move(jail), nullptr, std::nullopt};
  bool is_identified = false;
  auto vmm = reach(address, progress, [&](const vmm::Vmm& found) {
    is_identified = true;
    return claim_process(found, store, notes, when_pinned, claim);
  });
  auto claimed = vmm ? claimed_of(std::move(*vmm), claim, address)
                     : Result<AnyClaimedVm>(std::unexpected(std::move(vmm.error())));
  if (claimed) return claimed;
  if (claim.pin) release_unused_pin(*claim.pin);
  if (is_identified || claimed.error().kind != ErrorKind::kNotFound) return claimed;
  return with_remedy(std::unexpected(std::move(claimed.error())),
                     "name the API socket of a running Firecracker or Cloud Hypervisor");
}

void release_unused_pin(store::Pin& pin) {
  if (!pin.facts() && !pin.has_base()) static_cast<void>(pin.release());
}

}  // namespace lamina::lifecycle
