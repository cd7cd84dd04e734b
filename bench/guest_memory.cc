#include "guest_memory.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "base/block.h"
#include "base/error.h"
#include "os/file.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kWriteBlocks = 256;
constexpr std::size_t kWordsPerBlock = kBlockBytes / sizeof(std::uint64_t);

/// Uniform in [low, high].
std::uint32_t draw(std::mt19937_64& random, std::uint32_t low, std::uint32_t high) {
  return low + static_cast<std::uint32_t>(random() % (high - low + 1));
}

void fill_block(const BlockContents& contents, std::uint32_t index, std::uint32_t version,
                std::span<std::byte> block) {
  if (version == 0) {
    std::fill(block.begin(), block.end(), std::byte{0});
  } else {
    contents(index, version, block);
  }
}

/// One dirty run in the guest's way: mostly 1 to 8 pages, now and then a buffer.
std::uint32_t draw_run_length(std::mt19937_64& random) {
  return random() % 64 == 0 ? draw(random, 32, 256) : draw(random, 1, 8);
}

}  // namespace

void draw_block(std::uint32_t index, std::uint32_t version, std::span<std::byte> block) {
  // A full-period generator.
  std::uint64_t state = (std::uint64_t{index} << 32 | version) * 0x9e37'79b9'7f4a'7c15;
  for (std::size_t i = 0; i < kWordsPerBlock; ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    std::memcpy(&block[i * sizeof(state)], &state, sizeof(state));
  }
}

GuestMemory GuestMemory::dense(std::uint32_t blocks, std::uint64_t seed) {
  GuestMemory memory(blocks);
  std::mt19937_64 random(seed);
  std::fill(memory.versions_.begin(), memory.versions_.end(), 1);
  for (std::uint32_t block = draw(random, 1, 512); block < blocks;
       block += draw(random, 16, 1024)) {
    const std::uint32_t end = std::min(blocks, block + draw(random, 1, 8));
    std::fill(memory.versions_.begin() + block, memory.versions_.begin() + end, 0);
  }
  return memory;
}

GuestMemory GuestMemory::half_used(std::uint32_t blocks, std::uint64_t seed) {
  GuestMemory memory(blocks);
  std::mt19937_64 random(seed);
  // The used half: long runs of data with untouched pages between them. The rest: islands.
  const std::uint32_t used = blocks / 2 + blocks / 32;
  for (std::uint32_t block = 0; block < blocks;) {
    const bool in_used = block < used;
    const std::uint32_t data = in_used ? draw(random, 8, 1024) : draw(random, 1, 32);
    const std::uint32_t end = std::min(blocks, block + data);
    std::fill(memory.versions_.begin() + block, memory.versions_.begin() + end, 1);
    block = end + (in_used ? draw(random, 1, 64) : draw(random, 512, 8192));
  }
  return memory;
}

std::vector<DirtyRun> GuestMemory::draw_diff(double fraction, std::uint32_t version,
                                             std::uint64_t seed) const {
  constexpr std::uint32_t kClean = ~std::uint32_t{0};
  std::mt19937_64 random(seed);
  std::vector<std::uint32_t> dirty(versions_.size(), kClean);
  const auto wanted = static_cast<std::uint32_t>(fraction * static_cast<double>(block_count()));
  for (std::uint32_t found = 0; found < wanted;) {
    const std::uint32_t start = draw(random, 0, block_count() - 1);
    const std::uint32_t length = draw_run_length(random);
    const bool is_clear = length <= 8 && random() % 48 == 0;
    for (std::uint32_t i = start; i < std::min(block_count(), start + length); ++i) {
      if (versions_[i] == 0 || dirty[i] != kClean) continue;
      dirty[i] = is_clear ? 0 : version;
      ++found;
    }
  }
  std::vector<DirtyRun> runs;
  for (std::uint32_t i = 0; i < block_count(); ++i) {
    if (dirty[i] == kClean) continue;
    if (!runs.empty() && runs.back().block + runs.back().block_count == i &&
        runs.back().version == dirty[i]) {
      ++runs.back().block_count;
    } else {
      runs.push_back({i, 1, dirty[i]});
    }
  }
  return runs;
}

void GuestMemory::apply(const std::vector<DirtyRun>& diff, WrittenZeros zeros) {
  for (const DirtyRun& run : diff) {
    if (run.version == 0 && zeros == WrittenZeros::kInherit) continue;
    std::fill_n(versions_.begin() + run.block, run.block_count, run.version);
  }
}

std::uint64_t GuestMemory::data_blocks() const {
  return versions_.size() -
         static_cast<std::uint64_t>(std::count(versions_.begin(), versions_.end(), 0U));
}

Status GuestMemory::write_full_file(const std::string& path) const {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd fd,
                          os::open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, path));
  std::vector<std::byte> buffer(kWriteBlocks * kBlockBytes);
  for (std::uint32_t block = 0; block < block_count(); block += kWriteBlocks) {
    const std::uint32_t count = std::min(kWriteBlocks, block_count() - block);
    for (std::uint32_t i = 0; i < count; ++i) {
      fill_block(contents_, block + i, versions_[block + i],
                 std::span(buffer).subspan(i * kBlockBytes, kBlockBytes));
    }
    LAMINA_RETURN_IF_ERROR(os::write_at(fd.get(), std::span(buffer).first(count * kBlockBytes),
                                        block * kBlockBytes, path));
  }
  return os::sync(fd.get(), path);
}

Status GuestMemory::write_sparse_file(const std::string& path) const {
  std::vector<DirtyRun> runs;
  for (std::uint32_t block = 0; block < block_count(); ++block) {
    if (versions_[block] == 0) continue;
    if (!runs.empty() && runs.back().block + runs.back().block_count == block &&
        runs.back().version == versions_[block] && runs.back().block_count < kWriteBlocks) {
      ++runs.back().block_count;
    } else {
      runs.push_back({block, 1, versions_[block]});
    }
  }
  return write_diff_file(path, block_count(), runs, contents_);
}

bool GuestMemory::matches(std::uint32_t index, std::span<const std::byte> block) const {
  std::vector<std::byte> expected(kBlockBytes);
  fill_block(contents_, index, versions_[index], expected);
  return std::equal(expected.begin(), expected.end(), block.begin(), block.end());
}

Status write_diff_file(const std::string& path, std::uint32_t blocks,
                       const std::vector<DirtyRun>& diff, const BlockContents& contents) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd fd,
                          os::open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, path));
  LAMINA_RETURN_IF_ERROR(os::truncate(fd.get(), blocks * kBlockBytes, path));
  std::vector<std::byte> buffer;
  for (const DirtyRun& run : diff) {
    buffer.resize(run.block_count * kBlockBytes);
    for (std::uint32_t i = 0; i < run.block_count; ++i) {
      fill_block(contents, run.block + i, run.version,
                 std::span(buffer).subspan(i * kBlockBytes, kBlockBytes));
    }
    LAMINA_RETURN_IF_ERROR(os::write_at(fd.get(), buffer, run.block * kBlockBytes, path));
  }
  return os::sync(fd.get(), path);
}

}  // namespace lamina::bench
