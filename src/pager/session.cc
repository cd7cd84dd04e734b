#include "pager/session.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "os/clock.h"
#include "os/page_table.h"
#include "os/poll.h"
#include "os/process.h"
#include "os/userfaultfd.h"

namespace lamina::pager {
namespace {

/// Checks that the session will be able to fail closed, and to notice an empty pool of huge pages.
Status check_rights(KernelVmSyscalls& syscalls, const GuestMemory& memory, std::int32_t pid) {
  if (!os::may_signal(syscalls.descriptors().pidfd)) {
    return fail(ErrorKind::kFailed,
                "process {} has ended, or this process may not kill it, so a page that cannot be "
                "served would make it hang; run as the same user or as root",
                pid);
  }
  const auto has_huge_pages = [](const Region& region) {
    return region.page_bytes == kHugePageBytes;
  };
  const auto all = memory.regions().regions();
  const auto huge = std::find_if(all.begin(), all.end(), has_huge_pages);
  if (huge != all.end() && !os::has_page(pid, huge->host_address)) {
    return fail(ErrorKind::kFailed,
                "process {} has pages of 2 MiB, and its /proc/{}/pagemap cannot be read, so an "
                "empty pool of huge pages would go unnoticed; run as the same user or as root",
                pid, pid);
  }
  return {};
}

}  // namespace

Session::Session(std::unique_ptr<KernelVmSyscalls> syscalls, std::unique_ptr<GuestMemory> memory,
                 const SessionOptions& options)
    : syscalls_(std::move(syscalls)),
      memory_(std::move(memory)),
      shortage_(options.shortage),
      faults_(*memory_, shortage_, options.limits, options.record_until_ns),
      populator_(*memory_, shortage_, options.plan, options.reader) {}

Result<std::unique_ptr<Session>> Session::create(const engine::Chain& chain, VmState& state,
                                                 const VmDescriptors& descriptors,
                                                 std::span<std::byte> buffer,
                                                 const SessionOptions& options) {
  const std::int32_t pid = state.record().pid;
  auto syscalls = std::make_unique<KernelVmSyscalls>(descriptors, pid);
  LAMINA_ASSIGN_OR_RETURN(std::unique_ptr<GuestMemory> memory,
                          GuestMemory::create(chain, state, *syscalls, buffer));
  memory->set_arriving(options.arriving);
  LAMINA_RETURN_IF_ERROR(check_rights(*syscalls, *memory, pid));
  state.lock_slots();
  LAMINA_RETURN_IF_ERROR(os::set_nonblocking(descriptors.userfaultfd));
  std::unique_ptr<Session> session(new Session(std::move(syscalls), std::move(memory), options));
  session->memory_->finish_predecessor_events();
  return session;
}

SessionState Session::fill_deferred() {
  faults_.fill_deferred();
  return state();
}

SessionState Session::retry() {
  faults_.retry();
  return state();
}

SessionState Session::handle_arrived() {
  if (memory_->arriving() == nullptr) return state();
  memory_->arriving()->handle();
  faults_.serve_arrived();
  return state();
}

SessionState Session::step(int timeout_ms) {
  if (!memory_->is_serving()) return state();
  const VmDescriptors& fds = syscalls_->descriptors();
  const int arrivals = memory_->arriving() != nullptr ? memory_->arriving()->fd() : -1;
  std::array<pollfd, 3> waiting = {pollfd{fds.userfaultfd, POLLIN, 0}, pollfd{fds.pidfd, POLLIN, 0},
                                   pollfd{arrivals, POLLIN, 0}};
  if (const auto due_ns = next_retry_ns()) {
    constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
    const std::uint64_t now_ns = os::monotonic_ns();
    const auto left_ms =
        *due_ns <= now_ns ? 0
                          : static_cast<int>((*due_ns - now_ns) / kNanosecondsPerMillisecond) + 1;
    timeout_ms = timeout_ms < 0 ? left_ms : std::min(timeout_ms, left_ms);
  }
  const auto ready = os::wait_for_events(waiting, has_deferred() ? 0 : timeout_ms);
  if (retry() != SessionState::kServing) return state();
  if (!ready) return state();
  if (!*ready) return fill_deferred();
  if (waiting[0].revents != 0) handle_events();
  if (waiting[2].revents != 0) handle_arrived();
  if (memory_->is_serving() && waiting[1].revents != 0) end();
  return state();
}

}  // namespace lamina::pager
