#include "remote/file_difference.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "scratch_directory.h"

namespace lamina::remote {
namespace {

constexpr std::uint32_t kFileBlocks = 2000;

class FileDifferenceTest : public testing::Test {
 protected:
  FileDifferenceTest() {
    for (std::uint32_t i = 0; i < kFileBlocks; ++i) {
      text_ += std::to_string(i) + std::string(4096 - std::to_string(i).size(), '.');
    }
  }

  LocalFile opened() {
    const std::string path = scratch_.file("disk");
    std::ofstream(path, std::ios::binary) << text_;
    LocalFile file;
    file.name = "disk";
    auto open = os::open_regular(AT_FDCWD, path, O_RDONLY, path);
    EXPECT_TRUE(open);
    file.opened = std::move(*open);
    file.runs = {{0, kFileBlocks}};
    file.is_attached = true;
    return file;
  }

  void change(std::uint32_t block) { text_[block * 4096] = '!'; }

  /// The file as it is, with `parts` parts that have blocks in turn.
  [[nodiscard]] BaseFile base(std::uint32_t parts) const {
    BaseFile base;
    auto hash = packed::Sha256::create();
    for (std::uint32_t part = 0; part < parts; ++part) {
      BasePart made;
      made.object.reference.key = std::to_string(part);
      made.data_blocks = kFileBlocks / parts;
      base.parts.push_back(std::move(made));
    }
    const auto bytes = std::as_bytes(std::span(text_));
    for (std::uint32_t block = 0; block < kFileBlocks; ++block) {
      append_run(base.map, {block, 1}, static_cast<std::uint8_t>(block / (kFileBlocks / parts)));
      base.digests.push_back(hash->of(bytes.subspan(block * 4096, 4096)));
    }
    return base;
  }

  /// Every block is in one part, and those that changed are sent.
  static void expect_sound(const FileDifference& difference,
                           const std::function<bool(std::uint32_t)>& is_changed) {
    const std::size_t kept = difference.kept_parts().size();
    if (difference.map().empty()) {
      const bool is_whole = difference.changed_blocks() == kFileBlocks && kept == 0;
      EXPECT_TRUE(is_whole || (difference.changed_blocks() == 0 && kept == 1));
      return;
    }
    std::uint32_t next = 0;
    std::uint32_t sent = 0;
    for (const MappedRun& mapped : difference.map()) {
      EXPECT_EQ(mapped.run.first, next);
      next = mapped.run.end();
      if (mapped.part == kept) {
        sent += mapped.run.count;
        continue;
      }
      for (std::uint32_t block = mapped.run.first; block < next; ++block) {
        EXPECT_FALSE(is_changed(block)) << block;
      }
    }
    EXPECT_EQ(next, kFileBlocks);
    EXPECT_EQ(sent, difference.changed_blocks());
  }

  tests::ScratchDirectory scratch_;
  std::string text_;
};

TEST_F(FileDifferenceTest, SendsWhatChanged) {
  BaseFile before = base(2);
  change(7);
  change(8);
  change(1999);
  const LocalFile file = opened();
  FileDifference difference(file, "disk");
  ASSERT_TRUE(difference.scan(nullptr));
  EXPECT_EQ(difference.changed_blocks(), kFileBlocks);
  difference.compare(std::move(before));
  EXPECT_EQ(difference.changed_runs(), (std::vector<BlockRun>{{7, 2}, {1999, 1}}));
  expect_sound(difference, [](std::uint32_t i) { return i == 7 || i == 8 || i == 1999; });
  EXPECT_TRUE(difference.give_up("1"));
  EXPECT_EQ(difference.changed_blocks(), 1002U);
  EXPECT_FALSE(difference.give_up("1"));
  expect_sound(difference, [](std::uint32_t i) { return i == 7 || i == 8 || i >= 1000; });
}

TEST_F(FileDifferenceTest, GivesUpPartsThatAreMoreThanHalfDead) {
  BaseFile before = base(4);
  for (std::uint32_t i = 0; i < 251; ++i) change(i);
  for (std::uint32_t i = 500; i < 750; ++i) change(i);
  const LocalFile file = opened();
  FileDifference difference(file, "disk");
  ASSERT_TRUE(difference.scan(nullptr));
  difference.compare(std::move(before));
  EXPECT_EQ(difference.kept_parts().size(), 3U);
  EXPECT_EQ(difference.changed_blocks(), 500U + 250U);
}

TEST_F(FileDifferenceTest, KeepsFewParts) {
  BaseFile before = base(20);
  change(0);
  const LocalFile file = opened();
  FileDifference difference(file, "disk");
  ASSERT_TRUE(difference.scan(nullptr));
  difference.compare(std::move(before));
  EXPECT_LT(difference.kept_parts().size(), kMaxPushedParts);
  expect_sound(difference, [](std::uint32_t i) { return i == 0; });
}

TEST_F(FileDifferenceTest, MapHasFewRuns) {
  BaseFile before = base(1);
  // Nothing at the end; every sixteenth block at the beginning.
  constexpr std::uint32_t kEnd = 800;
  for (std::uint32_t i = 0; i < kEnd; i += 16) change(i);
  const LocalFile file = opened();
  for (const std::size_t most : {1000U, 100U, 60U, 20U, 2U, 1U}) {
    FileDifference difference(file, "disk", most);
    ASSERT_TRUE(difference.scan(nullptr));
    BaseFile copy = before;
    difference.compare(std::move(copy));
    EXPECT_LE(difference.map().size(), most);
    expect_sound(difference, [](std::uint32_t i) { return i < kEnd && i % 16 == 0; });
    EXPECT_EQ(difference.changed_blocks() == kEnd / 16, most >= 100) << most;
    EXPECT_EQ(difference.changed_blocks() == kFileBlocks, most == 1) << most;
  }
}

TEST_F(FileDifferenceTest, UnchangedFileNeedsNoMap) {
  BaseFile before = base(1);
  const LocalFile file = opened();
  FileDifference difference(file, "disk", 0);
  ASSERT_TRUE(difference.scan(nullptr));
  difference.compare(std::move(before));
  EXPECT_EQ(difference.changed_blocks(), 0U);
  EXPECT_TRUE(difference.map().empty());
  EXPECT_EQ(difference.kept_parts().size(), 1U);
}

TEST_F(FileDifferenceTest, FileThatChangedSinceItWasOpenedIsRefused) {
  LocalFile file = opened();
  std::filesystem::last_write_time(
      scratch_.file("disk"), std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  FileDifference difference(file, "disk");
  const Status scanned = difference.scan(nullptr);
  ASSERT_FALSE(scanned);
  EXPECT_EQ(scanned.error().kind, ErrorKind::kBusy);
}

}  // namespace
}  // namespace lamina::remote
