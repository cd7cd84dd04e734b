// One microVM: not started, running or paused; with memory once it is started or loaded.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"
#include "stand_ins/firecracker/failures.h"
#include "stand_ins/firecracker/guest.h"
#include "stand_ins/firecracker/memory_file.h"
#include "stand_ins/firecracker/state_file.h"
#include "stand_ins/firecracker/workload.h"

namespace lamina::tests {

enum class RunState : std::uint8_t { kNotStarted, kRunning, kPaused };

struct VmOptions {
  std::string id = "anonymous-instance";
  std::uint64_t memory_mib = 128;
  std::uint64_t hotplug_mib = 0;      ///< hotpluggable memory beside it (virtio-mem)
  std::uint64_t plugged_mib = 0;      ///< that the guest has plugged
  std::string huge_pages = "None";    ///< or "2M", "Transparent"; as the next of a fresh VM
  std::vector<std::string> networks;  ///< ids of network interfaces
  bool has_vsock = false;
  bool has_mmds = false;        ///< as if the snapshot had its configuration
  bool has_queues = true;       ///< virtio queues are dirty again after each create
  bool new_generation = false;  ///< a load writes another generation id, not the same again
  std::size_t regions = 1;
  std::uint64_t vcpus = 1;
  bool track_dirty_pages = true;  ///< of a fresh VM; a loaded one is told by the load
  bool reads_are_dirty = true;    ///< after a resume through a page server
  std::uint64_t seed = 1;
  std::size_t writers = 0;
  bool balloon = false;
  /// The guest may give pages back. What such a page may read as goes into the state, which grows
  /// with every snapshot.
  bool discards = true;
  bool checked = true;  ///< what the guest reads is compared
};

struct CreateRequest {
  MemoryFileKind kind = MemoryFileKind::kFull;
  std::string state_path;
  std::string memory_path;
};

struct LoadRequest {
  std::string state_path;
  std::string memory_path;  ///< of the file, or of the page server's socket
  bool from_page_server = false;
  bool track_dirty_pages = false;
  bool resume = false;
  std::vector<std::string> networks;  ///< ids of interfaces that get another host device
  bool has_vsock_override = false;
  std::string huge_pages = "Snapshot";  ///< or "None", "2M", "Transparent"
};

/// What the caller of a create gets.
enum class CreateAnswer : std::uint8_t { kDone, kNone };

/// The requests are made by one thread, as in Firecracker; guest operations by any.
class MicroVm {
 public:
  MicroVm(VmOptions options, Failures& failures, Hold& hold);

  /// A userfaultfd that was opened while the process could; else one is opened when it is needed.
  void keep_userfaultfd(os::Fd userfaultfd) { userfaultfd_ = std::move(userfaultfd); }

  [[nodiscard]] RunState state() const { return state_.load(); }
  [[nodiscard]] const VmOptions& options() const { return options_; }
  [[nodiscard]] std::uint64_t memory_mib() const;
  [[nodiscard]] bool tracks_dirty_pages() const;
  [[nodiscard]] const VmState& facts() const { return facts_; }
  /// A boot source was configured: nothing can be loaded any more.
  void configure_boot() { is_configured_ = true; }
  [[nodiscard]] bool is_configured() const { return is_configured_; }

  // Errors of these are in Firecracker's words, without the prefix of the action.

  Status start();
  Status pause();
  Status resume();
  Result<CreateAnswer> create(const CreateRequest& request);
  Status load(const LoadRequest& request);

  /// The memory, once there is some.
  [[nodiscard]] Guest* guest() const {
    return state() == RunState::kNotStarted ? nullptr : guest_.get();
  }
  [[nodiscard]] RunGate& gate() { return gate_; }

 private:
  static Status check_devices(const LoadRequest& request, const VmState& vm_state);
  Result<GuestMapping> map(const LoadRequest& request, const VmState& vm_state);
  void begin(GuestMapping mapping, PageModel model, DirtyTracking tracking);

  VmOptions options_;
  Failures& failures_;
  Hold& hold_;
  os::Fd userfaultfd_;
  std::atomic<RunState> state_ = RunState::kNotStarted;
  VmState facts_;  ///< all but the pages, which the guest has
  bool is_configured_ = false;
  GuestRandom random_;
  std::unique_ptr<Guest> guest_;
  RunGate gate_;
};

}  // namespace lamina::tests
