// Tests of the pager without a userfaultfd: a snapshot in files, a VmState, and a SimulatedVm that
// is served by the three classes of a session.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "os/fd.h"
#include "pager/fault_server.h"
#include "pager/guest_memory.h"
#include "pager/populator.h"
#include "pager/shortage.h"
#include "pager/simulated_vm.h"
#include "pager/vm_state.h"
#include "scratch_directory.h"

namespace lamina::pager {

inline constexpr std::uint64_t kTestAddress = 0x7000'0000'0000;

/// A temporary directory with one snapshot.
class SnapshotFiles {
 public:
  SnapshotFiles();

  /// Makes a snapshot of two layers: all data is in the first, every fifth block of data also in
  /// the second. `is_zero[i]`: block i is zeros.
  void make(const std::vector<bool>& is_zero);
  /// Changes a byte of a block of data in its layer.
  void damage(std::uint32_t block);

  [[nodiscard]] const engine::Chain& chain() const { return *chain_; }
  /// The memory as a plain array of blocks.
  [[nodiscard]] const std::vector<std::vector<std::byte>>& blocks() const { return blocks_; }
  /// A new VmState for a VM with these regions. Fails the test if that is impossible.
  [[nodiscard]] std::unique_ptr<VmState> make_state(const std::vector<Region>& regions,
                                                    std::uint64_t record_until_ns = 0,
                                                    bool record_faults_only = false);

 private:
  engine::Layer write_layer(const mapping::Mapping& state, const Uuid& id,
                            const std::vector<BlockRun>& runs);

  tests::ScratchDirectory scratch_;
  os::Fd directory_;
  std::vector<std::vector<std::byte>> blocks_;
  std::optional<engine::Chain> chain_;
  int states_ = 0;
};

/// The objects that serve a VM in one process.
struct Server {
  Server(const engine::Chain& chain, VmState& state, SimulatedVm& vm, std::span<std::byte> buffer,
         const FaultLimits& limits = {}, std::uint64_t record_until_ns = 0,
         const PopulatePlan* plan = nullptr, PlanReader* reader = nullptr)
      : memory(*GuestMemory::create(chain, state, vm, buffer)),
        faults(*memory, shortage, limits, record_until_ns),
        populator(*memory, shortage, plan, reader) {}

  std::unique_ptr<GuestMemory> memory;
  Shortage shortage{ShortageLimits{}};
  FaultServer faults;
  Populator populator;
};

/// One VM, its snapshot and its server.
class PagerTest : public testing::Test {
 protected:
  /// Makes the snapshot, and a VM with one region of all of it.
  void make_vm(const std::vector<bool>& is_zero, std::uint64_t page_bytes = kBlockBytes);
  void make_vm(const std::vector<bool>& is_zero, std::vector<Region> regions);
  /// Starts to serve the VM. If it is served already, the new server is the successor.
  void serve(const PopulatePlan* plan = nullptr, PlanReader* reader = nullptr);

  /// The address of a block in the only region.
  static std::uint64_t address(std::uint32_t block) {
    return kTestAddress + std::uint64_t{block} * kBlockBytes;
  }
  [[nodiscard]] VmCounters& counters() const { return state_->counters(); }
  /// Whether a block is present with the snapshot's contents.
  [[nodiscard]] bool has_data(std::uint32_t block);
  /// Whether a block is present with zeros.
  [[nodiscard]] bool has_zeros(std::uint32_t block);
  [[nodiscard]] bool is_missing(std::uint32_t block) { return vm_->page(address(block)).empty(); }
  /// The blocks that were filled, in order.
  [[nodiscard]] std::vector<std::uint32_t> filled() const;
  void fill_all_deferred();

  SnapshotFiles snapshot_;
  std::unique_ptr<VmState> state_;
  std::unique_ptr<SimulatedVm> vm_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kFillBufferBytes);
  FaultLimits limits_;
  std::uint64_t record_until_ns_ = 0;
  bool record_faults_only_ = false;
  std::unique_ptr<Server> server_;
};

/// Kinds of blocks from text: 'z' is zeros, any other letter data.
std::vector<bool> zeros_of(const std::string& kinds);

}  // namespace lamina::pager
