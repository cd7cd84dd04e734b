#include "os/memory_room.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "scratch_directory.h"

namespace lamina::os {
namespace {

namespace fs = std::filesystem;

constexpr pid_t kLimitedPid = 17;

class MemoryRoomTest : public testing::Test {
 protected:
  MemoryRoomTest() {
    put("proc/meminfo", "MemTotal: 2000 kB\nMemAvailable:    1000 kB\n");
    put("proc/self/cgroup", "0::/\n");
  }

  void put(const std::string& name, const std::string& text) const {
    const fs::path path = scratch_.path() / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  void put_process(const std::string& groups) const { put("proc/17/cgroup", groups); }

  [[nodiscard]] MemoryRoom room() const {
    const auto found = memory_room(kLimitedPid, {scratch_.file("proc"), scratch_.file("groups")});
    EXPECT_TRUE(found) << found.error().message;
    return found.value_or(MemoryRoom{});
  }

  tests::ScratchDirectory scratch_;
};

TEST_F(MemoryRoomTest, HostsAvailableMemoryIsTheMost) {
  put_process("0::/a\n");
  put("groups/a/memory.max", "max\n");
  put("groups/a/memory.current", "5000\n");
  const MemoryRoom found = room();
  EXPECT_EQ(found.bytes, 1000U * 1024);
  EXPECT_EQ(found.limit, "the host");
  EXPECT_TRUE(found.unknown.empty()) << found.unknown;
}

TEST_F(MemoryRoomTest, LimitOfAGroupAboveCounts) {
  put_process("0::/a/b\n");
  put("groups/a/memory.max", "9000\n");
  put("groups/a/memory.current", "5000\n");
  put("groups/a/b/memory.max", "max\n");
  put("groups/a/b/memory.current", "100\n");
  const MemoryRoom found = room();
  EXPECT_EQ(found.bytes, 4000U);
  EXPECT_EQ(found.limit, scratch_.file("groups") + "/a/memory.max");
}

TEST_F(MemoryRoomTest, LimitOfTheVisibleRootCounts) {
  put_process("0::/\n");
  put("groups/memory.max", "700\n");
  put("groups/memory.current", "200\n");
  EXPECT_EQ(room().bytes, 500U);
}

TEST_F(MemoryRoomTest, ThrottlingLimitCountsToo) {
  put_process("0::/a\n");
  put("groups/a/memory.max", "9000\n");
  put("groups/a/memory.high", "6000\n");
  put("groups/a/memory.current", "5000\n");
  EXPECT_EQ(room().bytes, 1000U);
}

TEST_F(MemoryRoomTest, CacheThatCanBeReclaimedIsNotUsed) {
  put_process("0::/a\n");
  put("groups/a/memory.max", "9000\n");
  put("groups/a/memory.current", "9000\n");
  put("groups/a/memory.stat", "anon 1000\nfile 8000\ninactive_file 3000\nactive_file 5000\n");
  EXPECT_EQ(room().bytes, 3000U);
}

TEST_F(MemoryRoomTest, UsageAboveTheLimitLeavesNothing) {
  put_process("0::/a\n");
  put("groups/a/memory.max", "9000\n");
  put("groups/a/memory.current", "9001\n");
  EXPECT_EQ(room().bytes, 0U);
}

TEST_F(MemoryRoomTest, GroupWithoutAReadableUsageLeavesNothing) {
  put_process("0::/a\n");
  put("groups/a/memory.max", "9000\n");
  EXPECT_EQ(room().bytes, 0U);
}

TEST_F(MemoryRoomTest, VersionOneIsReadAsWell) {
  put_process("4:cpu,memory:/a/b\n0::/\n");
  put("groups/unified/cgroup.procs", "");
  put("groups/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("groups/memory/memory.usage_in_bytes", "77777\n");
  put("groups/memory/a/memory.limit_in_bytes", "9000\n");
  put("groups/memory/a/memory.usage_in_bytes", "4000\n");
  put("groups/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n");
  put("groups/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  put("groups/memory/a/b/memory.usage_in_bytes", "4000\n");
  const MemoryRoom found = room();
  EXPECT_EQ(found.bytes, 5500U);
  EXPECT_TRUE(found.unknown.empty()) << found.unknown;
}

TEST_F(MemoryRoomTest, GroupThatCannotBeSeenIsUnknown) {
  put("groups/memory.max", "700\n");
  for (const char* path : {"0::/../other\n", "0::/a/gone\n"}) {
    put_process(path);
    EXPECT_FALSE(room().unknown.empty()) << path;
  }
}

TEST_F(MemoryRoomTest, ProcessThatHasEndedIsUnknown) { EXPECT_FALSE(room().unknown.empty()); }

TEST_F(MemoryRoomTest, HostWithoutItsMemoryIsAnError) {
  put("proc/meminfo", "MemTotal: 2000 kB\n");
  EXPECT_FALSE(memory_room(kLimitedPid, {scratch_.file("proc"), scratch_.file("groups")}));
}

TEST(MemoryRoomOfThisProcess, IsFound) {
  const auto found = memory_room(::getpid());
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_GT(found->bytes, 0U);
}

}  // namespace
}  // namespace lamina::os
