#include "engine/memory_scan.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/block.h"
#include "engine/block_scan.h"
#include "os/fd.h"
#include "os/file.h"

namespace lamina::engine {
namespace {

namespace fs = std::filesystem;

/// More than two reads of the longest kind, and the last block is short.
constexpr std::uint32_t kScannedBlocks = 1'100;
constexpr std::uint64_t kScannedBytes = kScannedBlocks * kBlockBytes - 1'000;

os::Fd make_file() {
  const char* base = std::getenv("LAMINA_TEST_DIR");
  std::string path = (base != nullptr ? std::string(base) : fs::temp_directory_path().string()) +
                     "/lamina-scan-XXXXXX";
  os::Fd file(::mkstemp(path.data()));
  ::unlink(path.c_str());
  return file;
}

std::uint64_t seed() {
  const char* given = std::getenv("LAMINA_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

/// A full memory file without holes: runs of data and of zeros, of random lengths.
class MemoryScanTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::uint64_t seed = engine::seed();
    std::cout << "LAMINA_SEED=" << seed << "\n";
    std::mt19937_64 random(seed);
    memory_.resize(kScannedBlocks * kBlockBytes);
    for (std::uint32_t block = 0; block < kScannedBlocks;) {
      const bool has_data = random() % 3 != 0;
      for (std::uint64_t left = 1 + random() % 40; left > 0 && block < kScannedBlocks;
           --left, ++block) {
        const std::uint64_t word = random() | 1U;
        if (has_data) std::memcpy(&memory_[block * kBlockBytes], &word, sizeof(word));
      }
    }
    file_ = make_file();
    ASSERT_TRUE(file_.valid());
    ASSERT_TRUE(os::write_at(file_.get(), std::span(memory_).first(kScannedBytes), 0, "memory"));
    ASSERT_EQ(::fsync(file_.get()), 0);
  }

  [[nodiscard]] std::span<const std::byte> block_of(std::uint64_t block) const {
    return std::span(memory_).subspan(block * kBlockBytes, kBlockBytes);
  }

  [[nodiscard]] bool is_zero(std::uint64_t block) const {
    const auto bytes = block_of(block);
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
  }

  /// Scans into `compact`, or adopts if that is -1, and compares the result with the memory.
  void scan_and_check(int compact) {
    MemoryScan scan;
    scan.memory_file = file_.get();
    scan.path = "memory";
    scan.memory_bytes = kScannedBytes;
    scan.compact_file = compact;
    scan.compact_path = "layer";
    // All of it is written, whatever the file system reports: so it is one long run.
    const std::vector<ByteRange> written{{0, kScannedBytes}};
    scan.written = &written;
    const auto result = scan_memory_file(scan);
    ASSERT_TRUE(result) << result.error().message;
    std::uint32_t next = 0;
    std::uint64_t stored = 0;
    for (const mapping::Extent& change : result->changes) {
      ASSERT_EQ(change.guest_block, next);
      for (; next < change.guest_end(); ++next) {
        ASSERT_EQ(change.layer == mapping::kZeros, is_zero(next)) << "block " << next;
        if (change.layer == mapping::kZeros) continue;
        ASSERT_EQ(result->checksums[stored], block_checksum(block_of(next))) << "block " << next;
        const std::uint32_t storage = change.storage_block + (next - change.guest_block);
        ASSERT_EQ(storage, compact >= 0 ? stored : next);
        ++stored;
        if (compact < 0) continue;
        std::vector<std::byte> bytes(kBlockBytes);
        const auto read = os::read_at(compact, bytes, storage * kBlockBytes, "layer");
        ASSERT_TRUE(read) << read.error().message;
        ASSERT_EQ(std::memcmp(bytes.data(), block_of(next).data(), kBlockBytes), 0)
            << "block " << next;
      }
    }
    EXPECT_EQ(next, kScannedBlocks);
    EXPECT_EQ(result->stored_blocks, stored);
    EXPECT_EQ(result->checksums.size(), stored);
    EXPECT_EQ(result->zero_blocks, kScannedBlocks - stored);
  }

  std::vector<std::byte> memory_;  ///< whole blocks: the rest of the last one is zeros
  os::Fd file_;
};

TEST_F(MemoryScanTest, LongRunIsReadBlockForBlock) { scan_and_check(-1); }

TEST_F(MemoryScanTest, LongRunIsCopiedWithoutItsZeros) {
  const os::Fd layer = make_file();
  ASSERT_TRUE(layer.valid());
  scan_and_check(layer.get());
}

TEST_F(MemoryScanTest, FileThatIsShorterThanItsMemoryIsRefused) {
  ASSERT_TRUE(os::truncate(file_.get(), kScannedBytes - kBlockBytes, "memory"));
  MemoryScan scan;
  scan.memory_file = file_.get();
  scan.path = "memory";
  scan.memory_bytes = kScannedBytes;
  const std::vector<ByteRange> written{{0, kScannedBytes}};
  scan.written = &written;
  const auto result = scan_memory_file(scan);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("shrank"), std::string::npos) << result.error().message;
}

}  // namespace
}  // namespace lamina::engine
