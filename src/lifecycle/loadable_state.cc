#include "lifecycle/loadable_state.h"

#include <utility>

#include "base/error.h"
#include "lamina/serve.h"
#include "lifecycle/maps.h"
#include "lifecycle/page_server_process.h"
#include "lifecycle/visibility.h"
#include "lifecycle/vm.h"
#include "os/path_walk.h"
#include "store/pin.h"

namespace lamina::lifecycle {
namespace {

constexpr const char* kMemoryName = "memory";
constexpr const char* kSocketName = "page-server.sock";

Owner owner_of(const vmm::Firecracker& vmm) { return {vmm.uid(), vmm.gid()}; }

const std::string& jail_directory(const ClaimedVm& claimed) {
  return claimed.pin.facts()->jail_directory.path;
}

Result<std::string> provide_vmstate(const ClaimedVm& claimed) {
  std::string vmstate = claimed.pin.base_path() + "/" + store::kVmstateName;
  if (claimed.jail.is_apart()) {
    LAMINA_RETURN_IF_ERROR(Jail::provide_copy(vmstate, jail_directory(claimed), store::kVmstateName,
                                              owner_of(claimed.vmm)));
    vmstate = jail_directory(claimed) + "/" + store::kVmstateName;
  } else {
    LAMINA_ASSIGN_OR_RETURN(vmstate, os::real_path(vmstate));
  }
  std::string inside = claimed.jail.inside(vmstate);
  LAMINA_RETURN_IF_ERROR(check_finds(claimed.vmm.pid(), {vmstate, inside}));
  return inside;
}

Result<std::string> provide_file(ClaimedVm& claimed, const Uuid& pause_id, Progress* progress) {
  LAMINA_ASSIGN_OR_RETURN(std::string memory,
                          provide_map(*claimed.store, claimed.pin, pause_id, progress));
  if (claimed.jail.is_apart()) {
    LAMINA_RETURN_IF_ERROR(
        Jail::provide_link(memory, jail_directory(claimed), kMemoryName, owner_of(claimed.vmm)));
    memory = jail_directory(claimed) + "/" + kMemoryName;
  } else {
    LAMINA_ASSIGN_OR_RETURN(memory, os::real_path(memory));
  }
  std::string inside = claimed.jail.inside(memory);
  LAMINA_RETURN_IF_ERROR(check_finds(claimed.vmm.pid(), {memory, inside}));
  return inside;
}

Result<std::string> provide_socket(const ClaimedVm& claimed) {
  const std::string socket = page_server_socket(claimed.store->path());
  if (!claimed.jail.is_apart()) return os::real_path(socket);
  const std::string given = jail_directory(claimed) + "/" + kSocketName;
  std::string inside = claimed.jail.inside(given);
  LAMINA_RETURN_IF_ERROR(Jail::provide_socket(socket, jail_directory(claimed), kSocketName));
  LAMINA_RETURN_IF_ERROR(make_socket_visible(claimed.vmm.pid(), socket, {given, inside}));
  return inside;
}

}  // namespace

Status record_resume(ClaimedVm& claimed, const store::OpenSnapshot& snapshot, ResumeMode mode,
                     const ResumeOptions& options, bool is_in_flight) {
  LAMINA_ASSIGN_OR_RETURN(store::PinFacts facts, describe_vm(claimed.vmm, options.vmm));
  facts.snapshot = options.name;
  // Until the load is acknowledged: another VM that is started in this process gets no diff to this
  // base.
  facts.needs_full = true;
  facts.base_in_flight = is_in_flight;
  facts.by_page_faults = mode == ResumeMode::kPageFaults;
  facts.populate = options.populate;
  facts.record = options.record;
  facts.record_faults = !options.no_record;
  if (mode == ResumeMode::kFile) facts.map = snapshot.pause_id;
  remove_jail_directory(claimed.pin);  // of a resume into this process that was killed
  if (!claimed.jail.is_apart()) return claimed.pin.write_facts(facts);
  const Uuid id = Uuid::random();
  facts.jail_directory.path = claimed.jail.directory_of(id);
  LAMINA_RETURN_IF_ERROR(claimed.pin.write_facts(facts));
  LAMINA_ASSIGN_OR_RETURN(facts.jail_directory,
                          claimed.jail.make_directory(id, owner_of(claimed.vmm)));
  return claimed.pin.write_facts_unsynced(facts);
}

Result<LoadableState> provide_state(ClaimedVm& claimed, const store::OpenSnapshot& snapshot,
                                    const ResumeModeChoice& choice, const ResumeOptions& options) {
  LoadableState state{.mode = choice.mode,
                      .reason = choice.reason,
                      .vmstate = {},
                      .backend = {},
                      .started_page_server = false};
  LAMINA_ASSIGN_OR_RETURN(state.vmstate, provide_vmstate(claimed));
  if (state.mode == ResumeMode::kPageFaults) {
    LAMINA_ASSIGN_OR_RETURN(state.started_page_server,
                            ensure_page_server(*claimed.store, options.page_server_command));
    auto socket = provide_socket(claimed);
    if (socket) {
      state.backend = std::move(*socket);
      return state;
    }
    if (!choice.may_fall_back) return std::unexpected(socket.error());
    state.mode = ResumeMode::kFile;
    state.reason = one_line(socket.error());
    store::PinFacts facts = *claimed.pin.facts();
    facts.by_page_faults = false;
    facts.map = snapshot.pause_id;
    LAMINA_RETURN_IF_ERROR(claimed.pin.write_facts(facts));
  }
  LAMINA_ASSIGN_OR_RETURN(state.backend,
                          provide_file(claimed, snapshot.pause_id, options.progress));
  return state;
}

}  // namespace lamina::lifecycle
