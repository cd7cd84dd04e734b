// What the benchmarks of page faults serve: a snapshot, and the same memory as one file and one
// mapping for the floors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "store/snapshot_directory.h"

namespace lamina::bench {

class FaultInput {
 public:
  /// Opens the snapshot and materializes it as `file`, all of it in the page cache.
  static Result<std::unique_ptr<FaultInput>> create(const std::string& snapshot,
                                                    const std::string& file);

  FaultInput(const FaultInput&) = delete;
  FaultInput& operator=(const FaultInput&) = delete;
  FaultInput(FaultInput&&) = delete;
  FaultInput& operator=(FaultInput&&) = delete;
  ~FaultInput();

  [[nodiscard]] const engine::Chain& chain() const { return snapshot_.chain; }
  [[nodiscard]] const store::OpenSnapshot& snapshot() const { return snapshot_; }
  [[nodiscard]] const std::string& file() const { return file_; }
  [[nodiscard]] int file_fd() const { return fd_.get(); }
  [[nodiscard]] std::span<const std::byte> memory() const { return memory_; }
  [[nodiscard]] std::uint32_t block_count() const {
    return static_cast<std::uint32_t>(ends_.size());
  }
  [[nodiscard]] bool is_zero(std::uint32_t block) const { return zero_[block]; }
  /// Where the run of data or zeros that a block is in ends.
  [[nodiscard]] std::uint32_t run_end(std::uint32_t block) const { return ends_[block]; }
  [[nodiscard]] std::uint64_t data_blocks() const;

  /// What a guest that touches these blocks must read in all.
  [[nodiscard]] std::uint64_t expected_sum(std::span<const std::uint32_t> touches) const;

 private:
  explicit FaultInput(store::OpenSnapshot snapshot) : snapshot_(std::move(snapshot)) {}

  store::OpenSnapshot snapshot_;
  std::string file_;
  os::Fd fd_;
  std::span<std::byte> memory_;
  std::vector<bool> zero_;
  std::vector<std::uint32_t> ends_;
};

/// All blocks, in order or shuffled.
std::vector<std::uint32_t> blocks_in_order(std::uint32_t count);
std::vector<std::uint32_t> blocks_shuffled(std::uint32_t count, std::uint64_t seed);

}  // namespace lamina::bench
