// Snapshots that another process replaces while an operation reads them.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/block.h"
#include "lamina/ingest.h"
#include "lamina/materialize.h"
#include "lamina/merge.h"
#include "lamina/progress.h"
#include "lamina/verify.h"
#include "os/directory.h"
#include "scratch_directory.h"
#include "store/snapshot_directory.h"
#include "store/snapshot_link.h"

namespace lamina {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMemoryBytes = 16 * kBlockBytes;

/// Calls a function when the operation has opened its snapshot and starts to read data.
class AtBegin final : public Progress {
 public:
  explicit AtBegin(std::function<void()> act) : act_(std::move(act)) {}

  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {
    if (act_) std::exchange(act_, nullptr)();
  }
  void advance(std::uint64_t /*bytes*/) override {}
  bool interrupted() override { return false; }
  [[nodiscard]] bool was_called() const { return act_ == nullptr; }

 private:
  std::function<void()> act_;
};

class ReplacedMeanwhileTest : public testing::Test {
 protected:
  ReplacedMeanwhileTest() {
    fs::create_directory(scratch_.file("store"));
    std::ofstream(scratch_.file("vmstate")) << "registers and devices";
    const std::string base = pause("base", {}, kMemoryBytes);
    snapshot_ = pause("vm", base, kMemoryBytes / 2);
  }

  /// Stores a memory file with data in the first `data_bytes`, and the VM state.
  [[nodiscard]] std::string pause(const std::string& name, const std::string& parent,
                                  std::size_t data_bytes) const {
    const std::string file = scratch_.file("memory");
    std::ofstream(file, std::ios::binary | std::ios::trunc) << std::string(data_bytes, name[0]);
    fs::resize_file(file, kMemoryBytes);
    IngestOptions options;
    options.memory_file = file;
    options.snapshot = scratch_.file("store") + "/" + name;
    if (!parent.empty()) options.parent = parent;
    options.vmstate_file = scratch_.file("vmstate");
    options.layout = Layout::kCompact;
    const auto stored = ingest(options);
    EXPECT_TRUE(stored) << stored.error().message;
    return options.snapshot;
  }

  /// What a merge in another process does: the directory has the same state, and other files.
  void merge_it() const {
    const auto merged = merge({.snapshot = snapshot_});
    ASSERT_TRUE(merged) << merged.error().message;
    ASSERT_TRUE(merged->merged);
  }

  // NOLINTNEXTLINE(*-non-private-member-variables-in-classes): a fixture
  tests::ScratchDirectory scratch_;
  std::string snapshot_;  // NOLINT(*-non-private-member-variables-in-classes)
};

TEST_F(ReplacedMeanwhileTest, VerifyChecksTheStateThatItOpened) {
  AtBegin merging([&] { merge_it(); });
  const auto report = verify({.snapshot = snapshot_, .progress = &merging});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(merging.was_called());
  EXPECT_TRUE(report->is_intact()) << testing::PrintToString(report->problems);
}

TEST_F(ReplacedMeanwhileTest, MaterializeWritesTheStateThatItOpened) {
  AtBegin merging([&] { merge_it(); });
  const std::string out = scratch_.file("out");
  const auto report = materialize({.snapshot = snapshot_, .out = out, .progress = &merging});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(merging.was_called());
  const auto equal = verify({.snapshot = snapshot_, .against = out});
  ASSERT_TRUE(equal);
  EXPECT_TRUE(equal->is_equal());
}

/// Whatever file of the replaced directory is already gone: the links are not taken for the whole
/// snapshot, and a second attempt has all.
TEST_F(ReplacedMeanwhileTest, LinksAreWholeOrRefused) {
  const std::vector<std::string> vanishing{store::kVmstateName, store::kHeaderName,
                                           store::kFactsName};
  for (const std::string& gone : vanishing) {
    auto opened = store::open_snapshot(snapshot_);
    ASSERT_TRUE(opened) << opened.error().message;
    const fs::path old = scratch_.file("old");
    fs::rename(snapshot_, old);
    fs::copy(old, snapshot_);
    fs::remove(old / gone);

    int attempts = 0;
    std::vector<std::string> notes;
    const Status linked = store::retry_if_replaced(*opened, [&]() -> Status {
      const std::string target = scratch_.file("links");
      fs::remove_all(target);
      fs::create_directory(target);
      auto directory = os::open_directory(AT_FDCWD, target, target);
      if (!directory) return std::unexpected(directory.error());
      ++attempts;
      return store::link_snapshot(*opened, directory->get(), target, notes);
    });
    ASSERT_TRUE(linked) << gone << ": " << linked.error().message;
    EXPECT_EQ(attempts, 2) << gone;
    EXPECT_TRUE(fs::exists(scratch_.path() / "links" / gone)) << gone;
    fs::remove_all(old);
  }
}

TEST_F(ReplacedMeanwhileTest, ARemovedSnapshotIsNotLinkedInPart) {
  const auto opened = store::open_snapshot(snapshot_);
  ASSERT_TRUE(opened);
  const fs::path old = scratch_.file("old");
  fs::rename(snapshot_, old);
  fs::remove(old / store::kVmstateName);
  const std::string target = scratch_.file("links");
  fs::create_directory(target);
  const auto directory = os::open_directory(AT_FDCWD, target, target);
  ASSERT_TRUE(directory);
  std::vector<std::string> notes;
  const Status linked = store::link_snapshot(*opened, directory->get(), target, notes);
  ASSERT_FALSE(linked);
  EXPECT_EQ(linked.error().kind, ErrorKind::kBusy);
}

TEST_F(ReplacedMeanwhileTest, VmStateIsCheckedAfterItsNameIsGone) {
  const auto opened = store::open_snapshot(snapshot_);
  ASSERT_TRUE(opened);
  fs::remove_all(snapshot_);
  EXPECT_TRUE(store::check_vmstate(*opened));
}

}  // namespace
}  // namespace lamina
