// The whole engine through its public interface, against a plain array of pages: random chains of
// memory files in all three block states, layouts, merges and options, every byte compared after
// every step, and the header rebuilt from the trailers after every step.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "lamina/ingest.h"
#include "lamina/inspect.h"
#include "lamina/materialize.h"
#include "lamina/merge.h"
#include "lamina/repair.h"
#include "lamina/verify.h"
#include "scratch_directory.h"

namespace lamina {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPage = 4096;

class PropertyChain : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { fs::create_directory(root_ / "store"); }

  /// Fills a page with one of a few contents, so that equal pages and pages that differ in one byte
  /// both come up.
  void fill_page(std::size_t page) {
    auto* bytes = &memory_[page * kPage];
    std::fill_n(bytes, kPage, static_cast<char>(random_() % 3));
    bytes[random_() % kPage] = static_cast<char>(1 + random_() % 5);
  }

  /// Changes the array as a guest would and writes the memory file of the pause.
  void write_memory_file(const fs::path& path, bool full) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(size_)), 0);
    const std::size_t pages = memory_.size() / kPage;
    const std::size_t longest = 1 + random_() % 20;
    for (std::size_t page = 0; page < pages;) {
      const std::size_t count = std::min(1 + random_() % longest, pages - page);
      const auto action = random_() % 5;
      for (std::size_t i = page; i < page + count; ++i) {
        if (action == 0) fill_page(i);
        if (action == 1) std::fill_n(&memory_[i * kPage], kPage, 0);
        // The bytes past the memory's end are nobody's: they must read as zeros.
        if (i + 1 == pages) std::fill(memory_.begin() + static_cast<long>(size_), memory_.end(), 0);
        // A diff has what changed, and what was written without a change (action 2).
        if (!full && action > 2) continue;
        const std::size_t length = std::min(kPage, size_ - i * kPage);
        ASSERT_EQ(::pwrite(fd, &memory_[i * kPage], length, static_cast<off_t>(i * kPage)),
                  static_cast<ssize_t>(length));
      }
      page += count;
    }
    ::fsync(fd);
    ::close(fd);
  }

  void expect_memory(const std::string& snapshot) {
    const fs::path out = root_ / "out";
    MaterializeOptions options{.snapshot = snapshot, .out = out.string()};
    options.reflink = random_() % 2 == 0 ? Reflink::kAuto : Reflink::kNever;
    const auto report = materialize(options);
    ASSERT_TRUE(report) << report.error().message;
    ASSERT_EQ(fs::file_size(out), size_);
    std::ifstream file(out, std::ios::binary);
    std::vector<char> contents(size_);
    file.read(contents.data(), static_cast<std::streamsize>(size_));
    for (std::size_t i = 0; i < size_; ++i) {
      ASSERT_EQ(contents[i], memory_[i]) << "page " << i / kPage;
    }
    fs::remove(out);
    const auto verified = verify({.snapshot = snapshot, .against = {}, .progress = nullptr});
    ASSERT_TRUE(verified) << verified.error().message;
    ASSERT_TRUE(verified->is_intact());
  }

  /// Takes the header away and compares what is rebuilt from the trailers.
  void expect_rebuilt(const std::string& snapshot) {
    const auto before = inspect(snapshot);
    ASSERT_TRUE(before) << before.error().message;
    fs::remove(snapshot + "/memfile.header");
    if (random_() % 2 == 0) fs::remove(snapshot + "/snapshot.json");
    const auto report = repair(snapshot);
    ASSERT_TRUE(report) << report.error().message;
    const auto after = inspect(snapshot);
    ASSERT_TRUE(after) << after.error().message;
    ASSERT_EQ(after->pause_id, before->pause_id);
    ASSERT_EQ(after->build_id, before->build_id);
    ASSERT_EQ(after->layers.size(), before->layers.size());
    ASSERT_EQ(after->extents.size(), before->extents.size());
    for (std::size_t i = 0; i < after->extents.size(); ++i) {
      ASSERT_EQ(after->extents[i].offset_bytes, before->extents[i].offset_bytes);
      ASSERT_EQ(after->extents[i].layer, before->extents[i].layer);
      ASSERT_EQ(after->extents[i].storage_offset_bytes, before->extents[i].storage_offset_bytes);
    }
  }

  IngestOptions random_options(int generation) {
    IngestOptions options;
    options.memory_file = (root_ / "memory").string();
    options.snapshot = (root_ / "store" / ("g" + std::to_string(generation))).string();
    if (generation > 0) {
      options.parent = (root_ / "store" / ("g" + std::to_string(generation - 1))).string();
      options.kind = random_() % 5 == 0 ? MemoryFileKind::kFull : MemoryFileKind::kDiff;
      options.dedup = random_() % 3 == 0 ? Dedup::kParent : Dedup::kNone;
      options.zeros = random_() % 2 == 0 ? Zeros::kWritten : Zeros::kUnspecified;
    } else {
      options.kind = MemoryFileKind::kFull;
    }
    const bool may_adopt = generation == 0 || options.kind == MemoryFileKind::kDiff;
    options.layout = may_adopt && random_() % 2 == 0 ? Layout::kAdopted : Layout::kCompact;
    options.zeros = Zeros::kWritten;
    return options;
  }

  tests::ScratchDirectory scratch_;
  fs::path root_ = scratch_.path();
  std::mt19937_64 random_;
  std::size_t size_ = 0;      // of the memory
  std::vector<char> memory_;  // the plain array, whole pages
};

TEST_P(PropertyChain, EveryByteIsRightAfterEveryStep) {
  const char* fixed = std::getenv("LAMINA_SEED");
  const std::uint64_t seed =
      fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : static_cast<std::uint64_t>(GetParam());
  SCOPED_TRACE("LAMINA_SEED=" + std::to_string(seed));
  random_.seed(seed);
  size_ = 1 + random_() % (200 * kPage);
  memory_.assign((size_ + kPage - 1) / kPage * kPage, 0);

  const auto generations = 1 + static_cast<int>(random_() % 14);
  for (int generation = 0; generation < generations; ++generation) {
    const IngestOptions options = random_options(generation);
    write_memory_file(options.memory_file, options.kind == MemoryFileKind::kFull);
    const auto report = ingest(options);
    ASSERT_TRUE(report) << report.error().message;
    ASSERT_NO_FATAL_FAILURE(expect_memory(options.snapshot));
    ASSERT_NO_FATAL_FAILURE(expect_rebuilt(options.snapshot));
    if (random_() % 3 != 0) continue;

    MergeOptions merging{
        .snapshot = options.snapshot, .out = {}, .layers = {}, .progress = nullptr};
    const auto layers = inspect(options.snapshot)->layers.size();
    if (random_() % 2 == 0) merging.layers = 1 + static_cast<std::uint32_t>(random_() % layers);
    const auto merged = merge(merging);
    ASSERT_TRUE(merged) << merged.error().message;
    ASSERT_EQ(merged->pause_id, report->pause_id);
    ASSERT_NO_FATAL_FAILURE(expect_memory(options.snapshot));
    ASSERT_NO_FATAL_FAILURE(expect_rebuilt(options.snapshot));
    // The parent that shared the layers is as it was.
    if (options.parent) {
      const auto parent = verify({.snapshot = *options.parent, .against = {}, .progress = nullptr});
      ASSERT_TRUE(parent) << parent.error().message;
      ASSERT_TRUE(parent->is_intact());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PropertyChain, testing::Range(1, 31));

}  // namespace
}  // namespace lamina
