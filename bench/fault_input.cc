#include "fault_input.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <random>

#include "base/block.h"
#include "base/error.h"
#include "lamina/materialize.h"
#include "os/file.h"
#include "touching_guest.h"

namespace lamina::bench {

Result<std::unique_ptr<FaultInput>> FaultInput::create(const std::string& snapshot,
                                                       const std::string& file) {
  LAMINA_ASSIGN_OR_RETURN(store::OpenSnapshot opened, store::open_snapshot(snapshot));
  std::unique_ptr<FaultInput> input(new FaultInput(std::move(opened)));
  MaterializeOptions options;
  options.snapshot = snapshot;
  options.out = file;
  LAMINA_RETURN_IF_ERROR(materialize(options));
  input->file_ = file;
  LAMINA_ASSIGN_OR_RETURN(input->fd_, os::open_at(AT_FDCWD, file, O_RDONLY, file));
  const mapping::Mapping& mapping = input->chain().mapping();
  const std::uint32_t count = mapping.block_count();
  void* memory = ::mmap(nullptr, count * kBlockBytes, PROT_READ, MAP_SHARED | MAP_POPULATE,
                        input->fd_.get(), 0);
  if (memory == MAP_FAILED) return system_failure("mmap", file, errno);
  input->memory_ = {static_cast<std::byte*>(memory), count * kBlockBytes};
  input->zero_.resize(count);
  input->ends_.resize(count);
  for (std::uint32_t block = 0; block < count;) {
    const mapping::Extent extent = mapping.resolve(block);
    std::fill_n(input->zero_.begin() + block, extent.block_count, extent.layer == mapping::kZeros);
    block += extent.block_count;
  }
  for (std::uint32_t block = count; block-- > 0;) {
    const bool goes_on = block + 1 < count && input->zero_[block + 1] == input->zero_[block];
    input->ends_[block] = goes_on ? input->ends_[block + 1] : block + 1;
  }
  return input;
}

FaultInput::~FaultInput() {
  if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

std::uint64_t FaultInput::data_blocks() const {
  return static_cast<std::uint64_t>(std::count(zero_.begin(), zero_.end(), false));
}

std::uint64_t FaultInput::expected_sum(std::span<const std::uint32_t> touches) const {
  std::uint64_t sum = 0;
  for (const std::uint32_t block : touches) {
    std::uint64_t word = 0;
    std::memcpy(&word, &memory_[block * kBlockBytes + touched_offset(block)], sizeof(word));
    sum += word;
  }
  return sum;
}

std::vector<std::uint32_t> blocks_in_order(std::uint32_t count) {
  std::vector<std::uint32_t> blocks(count);
  std::iota(blocks.begin(), blocks.end(), 0);
  return blocks;
}

std::vector<std::uint32_t> blocks_shuffled(std::uint32_t count, std::uint64_t seed) {
  std::vector<std::uint32_t> blocks = blocks_in_order(count);
  std::mt19937_64 random(seed);
  std::shuffle(blocks.begin(), blocks.end(), random);
  return blocks;
}

}  // namespace lamina::bench
