#include "lifecycle/frozen_vm.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "scratch_directory.h"
#include "store/open_store.h"

namespace lamina::lifecycle {
namespace {

namespace fs = std::filesystem;

class FrozenVmTest : public testing::Test {
 protected:
  FrozenVmTest() {
    fs::create_directory(directory_ / "store");
    options_.store = (directory_ / "store").string();
    options_.name = "a";
  }

  [[nodiscard]] store::Store open() const {
    std::vector<std::string> notes;
    auto store = store::open_store(options_.store, notes);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }

  [[nodiscard]] PreparedPause prepare(const store::Store& store) const {
    store::PauseJournal journal;
    journal.pause_id = Uuid::random();
    journal.build_id = Uuid::random();
    journal.name = options_.name;
    journal.vm = "1-1";
    auto pending = PendingPause::begin(store, journal, std::uint64_t{1} << 20, 0);
    EXPECT_TRUE(pending) << pending.error().message;
    const std::string path = pending->path();
    return {std::move(*pending), path};
  }

  [[nodiscard]] std::string path_of(const std::string& name) const {
    return (directory_ / name).string();
  }

  tests::ScratchDirectory scratch_;
  fs::path directory_ = scratch_.path();
  PauseOptions options_;
};

TEST_F(FrozenVmTest, CallersFunctionRunsAfterTheHookAndBeforeFilesAreAttached) {
  const store::Store store = open();
  const PreparedPause prepared = prepare(store);
  const std::string file = path_of("disk");
  options_.frozen_hook = "echo hook > '" + path_of("hook") + "'";
  options_.attachments = {file};
  options_.while_frozen = [&]() -> Status {
    if (!fs::exists(path_of("hook"))) return fail(ErrorKind::kFailed, "the hook has not run");
    std::ofstream(file) << "state";
    return {};
  };
  const auto attached = capture_files(prepared, options_);
  ASSERT_TRUE(attached) << attached.error().message;
  EXPECT_EQ(*attached, std::vector<std::string>{"disk"});
  EXPECT_EQ(fs::file_size(fs::path(prepared.directory) / "disk"), 5U);
}

TEST_F(FrozenVmTest, ErrorOfTheCallersFunctionIsAFailureOfTheCapture) {
  const store::Store store = open();
  const PreparedPause prepared = prepare(store);
  options_.attachments = {path_of("none")};
  options_.while_frozen = []() -> Status { return fail(ErrorKind::kBusy, "not now"); };
  const auto attached = capture_files(prepared, options_);
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().kind, ErrorKind::kFailed);
  EXPECT_EQ(attached.error().message, "not now");
}

}  // namespace
}  // namespace lamina::lifecycle
