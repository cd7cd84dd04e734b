#include "pager/vm_state.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "os/file.h"
#include "scratch_directory.h"

namespace lamina::pager {
namespace {

class VmStateTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = os::Fd(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }

  static VmRecord example() {
    VmRecord record;
    record.pid = 4711;
    record.start_time = 99;
    record.userfaultfd = 12;
    record.memory_bytes = 300 * 4096 + 7;
    record.regions = {{0x7000'0000'0000, 100 * 4096, 0, 4096},
                      {0x7000'1000'0000, 201 * 4096, 100 * 4096, 4096}};
    record.pause_id = Uuid::random();
    record.snapshot = "/s/one";
    record.record_until_ns = 5;
    return record;
  }

  Result<VmState> attach() {
    const os::Fd fd(::openat(directory_.get(), "state", O_RDWR | O_CLOEXEC));
    return VmState::attach(fd.get(), "state");
  }

  tests::ScratchDirectory scratch_{"/dev/shm"};
  std::filesystem::path root_ = scratch_.path();
  os::Fd directory_;
};

constexpr std::uint64_t kTebibyte = std::uint64_t{1} << 40;
constexpr std::uint64_t kMebibyte = std::uint64_t{1} << 20;

/// Storage that a file uses.
std::uint64_t allocated_bytes(const std::filesystem::path& path) {
  struct stat facts{};
  EXPECT_EQ(::stat(path.c_str(), &facts), 0);
  return static_cast<std::uint64_t>(facts.st_blocks) * 512;
}

TEST_F(VmStateTest, AllocationCoversTheRegionsNotTheMemorySize) {
  VmRecord record = example();
  record.record_until_ns = 0;
  record.memory_bytes = 8 * kTebibyte;
  record.regions = {{0x7000'0000'0000, 16 * kMebibyte, 4 * kTebibyte, 4096}};
  const auto state = VmState::create(directory_.get(), "state", record, "state");
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_LE(allocated_bytes(root_ / "state"), 5 * 4096);
  // Storage for its bits is allocated.
  state->removed_bits()[4 * kTebibyte / 4096 / 64] = 7;
  state->removed_bits()[(4 * kTebibyte + 16 * kMebibyte) / 4096 / 64 - 1] = 7;
  EXPECT_LE(allocated_bytes(root_ / "state"), 5 * 4096);
  EXPECT_TRUE(attach());
}

TEST_F(VmStateTest, OneVmCannotUseUpTheFileSystem) {
  const std::filesystem::path mounted = root_ / "small";
  std::filesystem::create_directory(mounted);
  if (::mount("lamina-test", mounted.c_str(), "tmpfs", 0, "size=64m") != 0) {
    GTEST_SKIP() << "nothing can be mounted here";
  }
  {
    const os::Fd directory(::open(mounted.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    VmRecord record = example();
    record.memory_bytes = kTebibyte;
    record.regions = {{0x7000'0000'0000, kTebibyte, 0, 4096}};
    const auto refused = VmState::create(directory.get(), "large", record, "state");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kNoSpace);
    EXPECT_NE(refused.error().message.find("one VM may use at most"), std::string::npos)
        << refused.error().message;
    record.memory_bytes = 4096 * kMebibyte;
    record.regions = {{0x7000'0000'0000, 4096 * kMebibyte, 0, 4096}};
    EXPECT_TRUE(VmState::create(directory.get(), "usual", record, "state"));
  }
  EXPECT_EQ(::umount2(mounted.c_str(), MNT_DETACH), 0);
}

TEST_F(VmStateTest, SuccessorFindsTheCompleteState) {
  const VmRecord record = example();
  {
    const auto state = VmState::create(directory_.get(), "state", record, "state");
    ASSERT_TRUE(state) << state.error().message;
    state->slots()[3].event = UFFD_EVENT_REMOVE;
    state->slots()[3].arg.remove.start = 77;
    state->reread_slots()[15].event = UFFD_EVENT_PAGEFAULT;
    state->removed_bits().back() = 5;
    state->counters().removes.add(8);
    state->network_waits().buckets.back().add(9);
    state->populate_position().set(std::uint64_t{3} << 32);
    state->recorded_blocks()[0] = 299;
    state->recorded_count().set(1);
  }
  const auto state = attach();
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(state->record().pid, record.pid);
  EXPECT_EQ(state->record().start_time, record.start_time);
  EXPECT_EQ(state->record().userfaultfd, record.userfaultfd);
  EXPECT_EQ(state->record().memory_bytes, record.memory_bytes);
  EXPECT_EQ(state->record().regions, record.regions);
  EXPECT_EQ(state->record().pause_id, record.pause_id);
  EXPECT_EQ(state->record().snapshot, record.snapshot);
  EXPECT_EQ(state->record().record_until_ns, 5);
  EXPECT_EQ(state->slots()[3].event, UFFD_EVENT_REMOVE);
  EXPECT_EQ(state->slots()[3].arg.remove.start, 77);
  EXPECT_EQ(state->reread_slots()[15].event, UFFD_EVENT_PAGEFAULT);
  EXPECT_EQ(state->removed_bits().back(), 5);
  EXPECT_EQ(state->counters().removes.get(), 8);
  EXPECT_EQ(state->network_waits().buckets.back().get(), 9);
  EXPECT_EQ(state->populate_position().get(), std::uint64_t{3} << 32);
  EXPECT_EQ(state->recorded_blocks()[0], 299);
  EXPECT_EQ(state->recorded_count().get(), 1);
}

TEST_F(VmStateTest, UnfinishedOrForeignFileIsRejected) {
  for (const std::uint64_t bytes : {0U, 100U, 4096U, 1U << 20}) {
    ::unlinkat(directory_.get(), "state", 0);
    const os::Fd fd(::openat(directory_.get(), "state", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
    const auto state = attach();
    ASSERT_FALSE(state) << bytes;
    EXPECT_EQ(state.error().kind, ErrorKind::kCorrupt);
  }
}

TEST_F(VmStateTest, TruncatedFileIsRejected) {
  ASSERT_TRUE(VmState::create(directory_.get(), "state", example(), "state"));
  const os::Fd fd(::openat(directory_.get(), "state", O_RDWR | O_CLOEXEC));
  const auto facts = os::facts_of(fd.get(), "state");
  ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(facts->size_bytes - 4096)), 0);
  EXPECT_FALSE(attach());
}

TEST_F(VmStateTest, StateWithoutRecordingTakesOneBitPerBlockAndFourPages) {
  VmRecord record = example();
  record.record_until_ns = 0;
  record.memory_bytes = std::uint64_t{1} << 30;
  ASSERT_TRUE(VmState::create(directory_.get(), "state", record, "state"));
  const os::Fd fd(::openat(directory_.get(), "state", O_RDONLY | O_CLOEXEC));
  const auto facts = os::facts_of(fd.get(), "state");
  EXPECT_LE(facts->allocated_bytes, (std::uint64_t{1} << 30) / 4096 / 8 + 4 * 4096);
}

}  // namespace
}  // namespace lamina::pager
