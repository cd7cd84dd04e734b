// Serves the memory of one VM.
//
// One thread owns a session and does everything with its descriptor, in order: it reads events,
// applies the REMOVEs of a batch first, fills the pages that fault, and populates between faults,
// in small portions. So nothing needs locks. Another thread (PlanReader) reads and verifies the
// data to populate.
//
// Three classes do the work: GuestMemory fills pages and fails closed, FaultServer serves faults,
// Populator fills pages without faults. A session makes them for a VM's descriptors and is their
// common interface; it decides nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "engine/chain.h"
#include "lamina/result.h"
#include "pager/arriving_blocks.h"
#include "pager/fault_server.h"
#include "pager/guest_memory.h"
#include "pager/plan_reader.h"
#include "pager/populator.h"
#include "pager/shortage.h"
#include "pager/vm_state.h"
#include "pager/vm_syscalls.h"

namespace lamina::pager {

struct SessionOptions {
  FaultLimits limits;
  /// Record the faulting blocks in order until this time (os::monotonic_ns). Unless the VM's record
  /// says record_faults_only, data is filled block by block meanwhile, so that every first touch
  /// faults. 0: do not record.
  std::uint64_t record_until_ns = 0;
  const PopulatePlan* plan = nullptr;  ///< may be null; must outlive the session
  /// The reader of the thread that owns the session; outlives the session. Null: the session reads
  /// the data to populate itself.
  PlanReader* reader = nullptr;
  ShortageLimits shortage;
  ArrivingBlocks* arriving = nullptr;  ///< null: all blocks are here; must outlive the session
};

class Session {
 public:
  /// Starts serving a VM, or continues after a predecessor was killed: applies the events that it
  /// had read but not handled, and wakes all regions once, so that waiting threads fault again.
  /// kFailed if the process has ended or may not be killed (the session could not fail closed), or
  /// if it has huge pages and its page table may not be read (an empty pool would look like a
  /// present page). `chain`, `state` and `buffer` (kFillBufferBytes, shared by the sessions of one
  /// thread) must outlive the session. Only the calling thread may use them and the session.
  static Result<std::unique_ptr<Session>> create(const engine::Chain& chain, VmState& state,
                                                 const VmDescriptors& descriptors,
                                                 std::span<std::byte> buffer,
                                                 const SessionOptions& options = {});

  /// Handles pending events, at most VmState::kSlots. Returns their number. Never waits for an
  /// event.
  std::size_t handle_events() { return faults_.handle_events(); }

  /// True if blocks around earlier faults remain to be filled.
  [[nodiscard]] bool has_deferred() const { return faults_.has_deferred(); }

  /// Fills some of the deferred blocks. To be called while no VM of the thread has events.
  SessionState fill_deferred();

  /// To be called when the VM's process has exited.
  void end() { memory_->end(); }

  /// Kills the VM because this process cannot serve it, for example because it is out of memory.
  void give_up(const char* cause) noexcept { memory_->give_up(cause); }

  /// When to call retry() (os::monotonic_ns); nullopt: not at all.
  [[nodiscard]] std::optional<std::uint64_t> next_retry_ns() const {
    return faults_.next_retry_ns();
  }
  /// Does what has to be done without an event: see FaultServer::retry().
  SessionState retry();

  /// To be called when SessionOptions::arriving's descriptor is readable.
  SessionState handle_arrived();

  /// Returns and clears a message for the log; empty if there is none.
  [[nodiscard]] std::string take_note() { return faults_.take_note(); }

  /// Waits up to `timeout_ms` (-1: forever) for events or the VM's end, and handles them. If blocks
  /// are deferred, does not wait but fills some of them.
  SessionState step(int timeout_ms);

  using Populated = pager::Populated;
  /// Fills up to `max_blocks` more blocks of the plan. Never waits for the reader.
  Populated populate(std::uint32_t max_blocks) { return populator_.populate(max_blocks); }

  /// Gives the planned portions back. False while one of them is being read: call again after the
  /// reader signals. (The destructor waits for it.)
  bool stop_populating() { return populator_.stop(); }

  /// Replaces the plan and starts at its beginning. Waits for a portion that is being read.
  void set_plan(const PopulatePlan* plan, PlanReader* reader) { populator_.set_plan(plan, reader); }

  /// Ends the session without ending the VM: see Populator::detach().
  bool detach() { return populator_.detach(); }

  [[nodiscard]] SessionState state() const { return memory_->state(); }
  [[nodiscard]] const std::string& failure() const { return memory_->failure(); }
  /// The same, moved out.
  [[nodiscard]] std::string take_failure() { return memory_->take_failure(); }

 private:
  Session(std::unique_ptr<KernelVmSyscalls> syscalls, std::unique_ptr<GuestMemory> memory,
          const SessionOptions& options);

  std::unique_ptr<KernelVmSyscalls> syscalls_;
  std::unique_ptr<GuestMemory> memory_;
  Shortage shortage_;
  FaultServer faults_;
  Populator populator_;
};

}  // namespace lamina::pager
