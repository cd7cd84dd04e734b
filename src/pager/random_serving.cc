#include "pager/random_serving.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <random>
#include <vector>

#include "pager/pager_fixture.h"

namespace lamina::pager {
namespace {

constexpr std::uint32_t kSteps = 3000;
constexpr std::size_t kThreads = 100;  // that touch memory
constexpr std::uint32_t kSmallBlocks = 3 * kHugePageBlocks;
constexpr std::uint32_t kBlocks = 5 * kHugePageBlocks;

/// Three regions in the order of the memory, but not of their addresses, with a gap between them.
/// The last has huge pages.
std::vector<Region> three_regions() {
  constexpr std::uint64_t kFirstBytes = 1000 * kBlockBytes;
  constexpr std::uint64_t kSmallBytes = kSmallBlocks * kBlockBytes;
  return {{kTestAddress, kFirstBytes, 0, kBlockBytes},
          {kTestAddress + (std::uint64_t{1} << 30), kSmallBytes - kFirstBytes, kFirstBytes,
           kBlockBytes},
          {kTestAddress + (std::uint64_t{2} << 30), kBlocks * kBlockBytes - kSmallBytes,
           kSmallBytes, kHugePageBytes}};
}

class RandomVmUse {
 public:
  explicit RandomVmUse(const RandomServing& serving)
      : serving_(serving), random_(serving.seed), regions_(three_regions()), vm_(regions_) {
    std::vector<bool> zeros(kBlocks);
    for (std::uint32_t block = 0; block < kBlocks;) {
      const bool zero = one_in(2);
      for (std::uint32_t left = 1 + below(60); left > 0 && block < kBlocks; --left) {
        zeros[block++] = zero;
      }
    }
    snapshot_.make(zeros);
    truth_ = snapshot_.blocks();
    state_ = snapshot_.make_state(regions_);
    for (int i = 0; i < 5; ++i) vm_.mapping_ends.insert(address(below(kSmallBlocks)));
    vm_.removing_threads_run = false;
    vm_.on_removed = [this](std::uint64_t start, std::uint64_t end) { forget(start, end); };
    if (!serving.populates) return;
    plan_.rest = one_in(2);
    for (std::uint32_t i = below(30); i > 0; --i) {
      const std::uint32_t first = below(kBlocks);
      plan_.first.push_back({first, 1 + below(std::min(200U, kBlocks - first))});
    }
    if (serving.reads_ahead) reader_ = *PlanReader::start();
  }

  std::string run() {
    begin_server();
    for (std::uint32_t step = 0; step < kSteps && wrong_.empty(); ++step) {
      use_memory();
      serve();
      check_filled();
    }
    if (wrong_.empty()) finish();
    if (wrong_.empty()) check_all();
    return wrong_;
  }

 private:
  struct ServerKilled {};

  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }
  bool one_in(std::uint32_t times) { return below(times) == 0; }

  [[nodiscard]] const Region& region_of(std::uint32_t block) const {
    for (const Region& region : regions_) {
      if (block * kBlockBytes < region.memory_offset + region.size_bytes) return region;
    }
    return regions_.back();
  }
  [[nodiscard]] std::uint64_t address(std::uint32_t block) const {
    const Region& region = region_of(block);
    return region.host_address + (block * kBlockBytes - region.memory_offset);
  }
  /// The bytes of a block; empty if it is missing.
  std::span<std::byte> bytes_of(std::uint32_t block) {
    const auto page = vm_.page(address(block));
    if (page.size() <= kBlockBytes) return page;
    return page.subspan(address(block) % kHugePageBytes, kBlockBytes);
  }

  /// One step of the guest, of its threads, or of the host.
  void use_memory() {
    const std::uint32_t block = below(kBlocks);
    switch (below(12)) {
      case 0:
        return give_back(block);
      case 1:
        return write(block);
      case 2:
        return vm_.run_removing_threads();
      case 3:
        // The host runs out of pages, and has some again.
        if (!one_in(4)) return;
        vm_.small_pages = vm_.small_pages == 0 ? below(300) : 0;
        vm_.huge_pages = vm_.small_pages == 0 ? 0 : 4;
        return;
      case 4:
        return vm_.advance(below(500'000'000));
      case 5:
        vm_.small_pages = vm_.huge_pages = kBlocks;
        return;
      default:
        // (Sequential reads too.)
        last_touched_ = one_in(3) ? std::min(last_touched_ + 1, kBlocks - 1) : block;
        if (vm_.waiting() < kThreads) vm_.touch(address(last_touched_));
    }
  }

  void give_back(std::uint32_t block) {
    const Region& region = region_of(block);
    const std::uint64_t start = address(block) & ~(region.page_bytes - 1);
    const std::uint64_t pages = region.page_bytes == kBlockBytes ? 1 + below(40) : 1;
    vm_.give_back(start, std::min(start + pages * region.page_bytes, region.host_end()));
  }

  void write(std::uint32_t block) {
    const auto bytes = bytes_of(block);
    if (bytes.empty() || vm_.is_being_removed(address(block))) return;
    std::fill(bytes.begin(), bytes.end(), static_cast<std::byte>(random_()));
    truth_[block].assign(bytes.begin(), bytes.end());
  }

  void forget(std::uint64_t start, std::uint64_t end) {
    for (std::uint32_t block = 0; block < kBlocks; ++block) {
      if (address(block) < start || address(block) >= end) continue;
      std::fill(truth_[block].begin(), truth_[block].end(), std::byte{0});
      has_been_removed_[block] = true;
    }
  }

  void begin_server() {
    while (true) {
      try {
        server_.reset();
        server_ = std::make_unique<Server>(snapshot_.chain(), *state_, vm_, buffer_, FaultLimits{},
                                           0, serving_.populates ? &plan_ : nullptr, reader_.get());
        server_->memory->finish_predecessor_events();
        return;
      } catch (const ServerKilled&) {
        vm_.around_calls = [] {};
      }
    }
  }

  /// One step of the server, during which it may be killed.
  void serve() {
    if (serving_.kills_servers && one_in(20)) {
      vm_.around_calls = [left = 1 + below(40)]() mutable {
        if (--left == 0) throw ServerKilled();
      };
    }
    try {
      serve_step();
    } catch (const ServerKilled&) {
      if (one_in(2)) vm_.around_calls = [] {};  // else its successor may be killed while it begins
      begin_server();
      vm_.around_calls = [] {};
    }
  }

  void serve_step() {
    switch (below(4)) {
      case 0:
        server_->faults.fill_deferred();
        break;
      case 1:
        server_->faults.retry();
        break;
      case 2:
        server_->populator.populate(one_in(2) ? kPortionBlocks : 1 + below(60));
        break;
      default:
        server_->faults.handle_events();
        break;
    }
  }

  void complain_if_wrong(std::uint32_t block) {
    const auto bytes = bytes_of(block);
    if (bytes.empty() || vm_.is_being_removed(address(block))) return;
    if (std::equal(bytes.begin(), bytes.end(), truth_[block].begin())) return;
    wrong_ = fmt::format("block {} is wrong", block);
  }

  /// Checks the pages that were filled since the last call.
  void check_filled() {
    const auto& filled = vm_.filled();
    for (; checked_ < filled.size(); ++checked_) {
      for (const Region& region : regions_) {
        if (filled[checked_] < region.host_address || filled[checked_] >= region.host_end()) {
          continue;
        }
        const auto block = static_cast<std::uint32_t>(
            (region.memory_offset + (filled[checked_] - region.host_address)) / kBlockBytes);
        for (std::uint32_t i = 0; i < region.page_bytes / kBlockBytes; ++i) {
          complain_if_wrong(block + i);
        }
      }
    }
    if (!server_->memory->is_serving()) wrong_ = "the session ended: " + server_->memory->failure();
  }

  void check_all() {
    for (std::uint32_t block = 0; block < kBlocks; ++block) complain_if_wrong(block);
  }

  /// Serves until no thread waits and nothing remains to be populated; then reads all of the
  /// memory.
  void finish() {
    vm_.around_calls = [] {};
    vm_.small_pages = vm_.huge_pages = kBlocks;
    serve_all();
    if (serving_.populates && wrong_.empty()) populate_all();
    for (std::uint32_t block = 0; block < kBlocks && wrong_.empty(); ++block) {
      vm_.touch(address(block));
      if (vm_.waiting() == kThreads) serve_all();
    }
    serve_all();
    for (std::uint32_t block = 0; block < kBlocks && wrong_.empty(); ++block) {
      if (bytes_of(block).empty()) wrong_ = fmt::format("block {} is missing", block);
    }
  }

  void serve_all() {
    for (int i = 0; vm_.waiting() > 0 || vm_.unread() > 0 || server_->faults.has_deferred(); ++i) {
      if (i == 10'000) wrong_ = fmt::format("{} threads wait forever", vm_.waiting());
      if (!wrong_.empty()) return;
      server_->faults.handle_events();
      server_->faults.fill_deferred();
      server_->faults.retry();
      vm_.run_removing_threads();
      vm_.advance(100'000'000);
      check_filled();
    }
    while (vm_.is_being_removed_anywhere()) vm_.run_removing_threads();
  }

  void populate_all() {
    for (int i = 0;; ++i) {
      const Populated populated = server_->populator.populate(kPortionBlocks);
      if (populated == Populated::kDone) break;
      if (i == 10'000) wrong_ = "populating does not end";
      if (populated == Populated::kWaits && reader_) wait_for_reader();
      vm_.advance(100'000'000);
      server_->faults.retry();
      serve_all();
      if (!wrong_.empty()) return;
    }
    check_filled();
    for (std::uint32_t block = 0; block < kBlocks; ++block) {
      const bool is_planned =
          plan_.rest || std::any_of(plan_.first.begin(), plan_.first.end(), [&](BlockRun run) {
            return block >= run.first && block < run.end();
          });
      if (is_planned && !has_been_removed_[block] && bytes_of(block).empty()) {
        wrong_ = fmt::format("block {} was not populated", block);
      }
    }
  }

  void wait_for_reader() const {
    pollfd waiting{reader_->fd(), POLLIN, 0};
    if (::poll(&waiting, 1, 10) == 1) reader_->clear();
  }

  RandomServing serving_;
  std::mt19937_64 random_;
  std::vector<Region> regions_;
  SnapshotFiles snapshot_;
  SimulatedVm vm_;
  std::vector<std::vector<std::byte>> truth_;
  std::vector<bool> has_been_removed_ = std::vector<bool>(kBlocks);
  std::unique_ptr<VmState> state_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kFillBufferBytes);
  PopulatePlan plan_;
  std::unique_ptr<PlanReader> reader_;
  std::unique_ptr<Server> server_;
  std::size_t checked_ = 0;
  std::uint32_t last_touched_ = 0;
  std::string wrong_;
};

}  // namespace

std::string serve_at_random(const RandomServing& serving) { return RandomVmUse(serving).run(); }

}  // namespace lamina::pager
