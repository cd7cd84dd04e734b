#include "server/working_set_choice.h"

#include <algorithm>

#include "base/bitmap.h"
#include "base/block.h"

namespace lamina::server {
namespace {

/// Blocks in the order in which they were added, each once.
class BlockSet {
 public:
  explicit BlockSet(std::uint64_t memory_blocks)
      : memory_blocks_(memory_blocks), bits_(memory_blocks / kBitsPerWord + 1) {}

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool contains(std::uint32_t block) const { return is_bit_set(bits_, block); }
  [[nodiscard]] const std::vector<BlockRun>& runs() const { return runs_; }

  void add(std::uint32_t block) {
    if (block >= memory_blocks_ || contains(block)) return;
    write_bits(bits_, block, std::size_t{block} + 1, true);
    ++size_;
    if (!runs_.empty() && runs_.back().end() == block) {
      ++runs_.back().count;
    } else {
      runs_.push_back({block, 1});
    }
  }

  void add(std::span<const BlockRun> runs) {
    for (const BlockRun& run : runs) {
      const std::uint64_t end = std::min<std::uint64_t>(run.end(), memory_blocks_);
      for (std::uint64_t block = run.first; block < end; ++block) {
        add(static_cast<std::uint32_t>(block));
      }
    }
  }

 private:
  std::uint64_t memory_blocks_;
  std::vector<std::uint64_t> bits_;
  std::vector<BlockRun> runs_;
  std::size_t size_ = 0;
};

bool is_data(const mapping::Mapping& mapping, std::uint32_t block) {
  return mapping.resolve(block).layer != mapping::kZeros;
}

/// The data around a fault that its window has without a gap.
void add_window(BlockSet& set, const mapping::Mapping& mapping, std::uint32_t fault) {
  if (!is_data(mapping, fault)) return set.add(fault);  // a page of 2 MiB
  const std::uint32_t lowest = fault - fault % kRecordedWindowBlocks;
  const std::uint32_t highest = std::min(lowest + kRecordedWindowBlocks, mapping.block_count());
  std::uint32_t first = fault;
  while (first > lowest && is_data(mapping, first - 1)) --first;
  std::uint32_t end = fault + 1;
  while (end < highest && is_data(mapping, end)) ++end;
  for (std::uint32_t block = first; block < end; ++block) set.add(block);
}

std::size_t count_in(const BlockSet& set, const BlockSet& other) {
  std::size_t count = 0;
  for (const BlockRun& run : set.runs()) {
    for (std::uint32_t block = run.first; block < run.end(); ++block) {
      if (other.contains(block)) ++count;
    }
  }
  return count;
}

format::WorkingSet working_set_of(const BlockSet& set, std::uint64_t memory_bytes) {
  format::WorkingSet made;
  made.memory_bytes = memory_bytes;
  std::size_t blocks = 0;
  for (const BlockRun& run : set.runs()) {
    if (blocks >= kMaxKeptBlocks) break;
    made.runs.push_back(run);
    blocks += run.count;
  }
  return made;
}

}  // namespace

WorkingSetChoice choose_working_set(const mapping::Mapping& mapping, std::uint64_t memory_bytes,
                                    const format::WorkingSet* present,
                                    std::span<const BlockRun> replayed,
                                    std::span<const std::uint32_t> faults) {
  const std::uint64_t memory_blocks =
      std::min<std::uint64_t>(blocks_for(memory_bytes), mapping.block_count());
  BlockSet faulted(memory_blocks);
  for (const std::uint32_t fault : faults) {
    if (fault < memory_blocks) add_window(faulted, mapping, fault);
  }
  BlockSet used(memory_blocks);
  used.add(replayed);
  used.add(faulted.runs());
  BlockSet set(memory_blocks);
  if (present != nullptr) set.add(present->runs);

  WorkingSetChoice choice;
  choice.used_blocks = used.size();
  choice.known_blocks = count_in(used, set);
  const std::uint64_t missing = choice.used_blocks - choice.known_blocks;
  if (missing == 0 || choice.known_blocks * 10 >= choice.used_blocks * 9) return choice;
  if (choice.known_blocks * 2 >= choice.used_blocks && set.size() + missing <= kMaxKeptBlocks) {
    set.add(used.runs());
    choice.replacement = working_set_of(set, memory_bytes);
  } else if (faulted.size() > 0) {
    choice.replacement = working_set_of(faulted, memory_bytes);
  }
  return choice;
}

}  // namespace lamina::server
