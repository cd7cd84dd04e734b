// Who answers a benchmark's page faults: lamina's session, and bare loops to hold it against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fault_input.h"
#include "lamina/result.h"
#include "pager/due_windows.h"
#include "pager/fault_around.h"
#include "pager/session.h"
#include "pager/vm_state.h"
#include "touching_guest.h"

namespace lamina::bench {

class FaultServer {
 public:
  FaultServer() = default;
  FaultServer(const FaultServer&) = delete;
  FaultServer& operator=(const FaultServer&) = delete;
  FaultServer(FaultServer&&) = delete;
  FaultServer& operator=(FaultServer&&) = delete;
  virtual ~FaultServer() = default;

  /// Handles the events that wait.
  virtual Status handle_events() = 0;
  /// There is something that it puts off while events wait.
  [[nodiscard]] virtual bool has_more() const { return false; }
  /// Does some of it.
  virtual Status do_more() { return {}; }
  /// Fills all blocks of these runs, in order, with nobody faulting.
  virtual Status populate(std::span<const BlockRun> runs) = 0;
};

/// Polls and serves until the guest has done what it was told.
Status serve_until_done(ConnectedGuest& guest, FaultServer& server);

/// pager::Session as in production, its state on tmpfs.
class SessionServer : public FaultServer {
 public:
  /// `reader` reads ahead what is populated; null: nobody does.
  static Result<std::unique_ptr<SessionServer>> create(const ConnectedGuest& guest,
                                                       const engine::Chain& chain,
                                                       const pager::FaultLimits& limits,
                                                       std::shared_ptr<pager::PlanReader> reader);
  Status handle_events() override;
  [[nodiscard]] bool has_more() const override { return session_->has_deferred(); }
  Status do_more() override;
  Status populate(std::span<const BlockRun> runs) override;

 private:
  explicit SessionServer(pager::VmState state)
      : state_(std::move(state)), buffer_(pager::kFillBufferBytes) {}
  [[nodiscard]] Status check() const;

  pager::VmState state_;
  std::vector<std::byte> buffer_;
  pager::PopulatePlan plan_;
  std::shared_ptr<pager::PlanReader> reader_;
  std::unique_ptr<pager::Session> session_;
};

/// Where a bare loop has its bytes from.
enum class FloorSource : std::uint8_t {
  kMapping,  ///< the kernel copies straight from a mapping of the materialized file
  kRead,     ///< a pread of the file into a buffer, and the kernel copies from there
};

/// How a bare loop fills the window around a fault.
enum class FloorOrder : std::uint8_t {
  kPageFirst,    ///< of data the page that is waited for, then those around it, when ours does so
  kWholeWindow,  ///< all at once
};

/// No check, no record of anything but of what it has filled; runs of one kind as ours fills them.
class FloorServer : public FaultServer {
 public:
  FloorServer(const ConnectedGuest& guest, const FaultInput& input,
              const pager::FaultLimits& limits, FloorSource source, FloorOrder order);
  Status handle_events() override;
  [[nodiscard]] bool has_more() const override {
    return !due_.empty() || data_around_.has_deferred() || zeros_around_.has_deferred();
  }
  Status do_more() override;
  Status populate(std::span<const BlockRun> runs) override;

 private:
  /// Fills the run at `block`, `limits` at most; returns its blocks.
  std::uint32_t fill(std::uint32_t block, const pager::FaultLimits& limits);
  /// Fills what is missing in a block's window, of one kind and of one piece with it, `limit`
  /// blocks at most. False when there may be more.
  bool fill_around(std::uint32_t block, std::uint32_t limit);
  /// As pager::FaultServer does.
  void add_due(std::uint32_t block);
  void fill_due(std::size_t parts);
  [[nodiscard]] pager::FaultAround& windows_of(std::uint32_t block) {
    return input_.is_zero(block) ? zeros_around_ : data_around_;
  }
  [[nodiscard]] Status check() const;

  const int userfaultfd_;
  const std::uint64_t address_;
  const FaultInput& input_;
  const pager::FaultLimits limits_;
  const FloorSource source_;
  const FloorOrder order_;
  std::vector<std::uint64_t> data_bits_;
  std::vector<std::uint64_t> zeros_bits_;
  pager::FaultAround data_around_;
  pager::FaultAround zeros_around_;
  pager::DueWindows due_;
  bool failed_ = false;
  std::vector<std::byte> buffer_;
};

/// The original program's way: for every fault a pread of one block and a copy of it, zeros too.
class PlainServer : public FaultServer {
 public:
  PlainServer(const ConnectedGuest& guest, const FaultInput& input);
  Status handle_events() override;
  Status populate(std::span<const BlockRun> runs) override;

 private:
  Status fill(std::uint32_t block);

  const int userfaultfd_;
  const std::uint64_t address_;
  const FaultInput& input_;
  std::vector<std::byte> buffer_;
};

}  // namespace lamina::bench
