#include "lifecycle/vm.h"

#include "base/error.h"
#include "base/escape.h"
#include "base/utf8.h"
#include "lifecycle/jail.h"
#include "os/directory.h"
#include "os/long_wait.h"
#include "os/machine.h"
#include "os/path_walk.h"
#include "os/process.h"

namespace lamina::lifecycle {
namespace {

/// Journals are JSON, which cannot represent other bytes, and the paths must be read back exactly.
Status check_text(const std::string& path) {
  if (is_utf8(path)) return {};
  return fail(ErrorKind::kUsage, "the path '{}' is not UTF-8; give a name that is",
              escaped_line(path));
}

}  // namespace

Result<std::string> recorded_path(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(std::string real, os::real_path(path));
  LAMINA_RETURN_IF_ERROR(check_text(real));
  return real;
}

void remove_jail_directory(const store::Pin& pin) {
  if (!pin.facts()) return;
  // The jail may be gone with its VM, or this user may not be allowed to remove it.
  static_cast<void>(Jail::remove_directory(pin.facts()->jail_directory));
}

Status release_pin(store::Pin& pin) {
  remove_jail_directory(pin);
  return pin.release();
}

void release_pin_of_stopped(store::Pin& pin, std::vector<std::string>& notes) {
  const std::string path = pin.path();
  const Status released = release_pin(pin);
  if (released) return;
  notes.push_back(
      fmt::format("pin '{}' of the VM that was stopped is still there, until "
                  "`lamina recover` removes it: {}",
                  path, one_line(released.error())));
}

Status stop_vm(vmm::Vmm& vmm, store::Pin& pin, std::vector<std::string>& notes) {
  LAMINA_ASSIGN_OR_RETURN(const vmm::InstanceInfo instance, vmm.describe());
  if (instance.state != vmm::VmState::kPaused) {
    return fail(ErrorKind::kFailed,
                "somebody has let the VM of process {} run on meanwhile; it is not stopped",
                vmm.pid());
  }
  LAMINA_RETURN_IF_ERROR(os::kill_process(vmm.pidfd()));
  const os::LongWait waiting;
  LAMINA_ASSIGN_OR_RETURN(const bool ended, os::wait_for_end(vmm.pidfd(), vmm.timeouts().request));
  if (ended) {
    release_pin_of_stopped(pin, notes);
    return {};
  }
  notes.push_back(
      fmt::format("process {} was killed and is still there after {} ms: {}; it runs no guest any "
                  "more, and its pin goes when it has ended",
                  vmm.pid(), vmm.timeouts().request.count(), os::why_not_ended(vmm.pid())));
  return {};
}

Result<vmm::AnyVmm> reach(const VmmAddress& address, Progress* progress,
                          const vmm::WhenIdentified& when_identified) {
  LAMINA_RETURN_IF_ERROR(check_text(address.api_socket));
  LAMINA_RETURN_IF_ERROR(check_text(address.jail));
  vmm::Timeouts timeouts;
  timeouts.request = address.timeouts.request;
  timeouts.create = address.timeouts.create;
  timeouts.load = address.timeouts.load;
  return vmm::connect(address.api_socket, timeouts, progress, when_identified);
}

Result<store::PinFacts> describe_vm(const vmm::Vmm& vmm, const VmmAddress& address) {
  store::PinFacts facts;
  facts.pid = vmm.pid();
  facts.start_time = vmm.start_time();
  LAMINA_ASSIGN_OR_RETURN(facts.boot_id, os::boot_id());
  LAMINA_ASSIGN_OR_RETURN(facts.pid_namespace, os::pid_namespace());
  facts.uid = vmm.uid();
  LAMINA_ASSIGN_OR_RETURN(facts.api_socket, recorded_path(address.api_socket));
  if (!address.jail.empty()) {
    LAMINA_ASSIGN_OR_RETURN(facts.jail, recorded_path(address.jail));
  }
  facts.since = store::timestamp_now();
  return facts;
}

std::vector<std::string> differences(const store::Origin& then, const store::Origin& now,
                                     const char* vmm) {
  std::vector<std::string> notes;
  const auto compare = [&](const char* what, const std::string& was, const std::string& is) {
    if (was.empty() || is.empty() || was == is) return;
    notes.push_back(fmt::format(
        "the state was made with {} '{}', here is '{}': it may not run here", what, was, is));
  };
  compare(vmm, then.vmm_version, now.vmm_version);
  compare("processor", then.cpu, now.cpu);
  compare("host kernel", then.kernel, now.kernel);
  return notes;
}

store::Origin origin_here(const std::string& vmm_version) {
  return {vmm_version, os::cpu_model(), os::kernel_release(), {}};
}

}  // namespace lamina::lifecycle
