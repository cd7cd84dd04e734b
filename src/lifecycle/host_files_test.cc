#include "lifecycle/host_files.h"

#include <gtest/gtest.h>

namespace lamina::lifecycle {
namespace {

TEST(HostFiles, ListeningSocketsAreFound) {
  const std::string list =
      "Num       RefCount Protocol Flags    Type St Inode Path\n"
      "00000000: 00000002 00000000 00010000 0001 01 11 /run/listens\n"
      "00000000: 00000003 00000000 00000000 0001 03 12 /run/connected\n"
      "00000000: 00000003 00000000 00000000 0001 03 13\n"
      "00000000: 00000002 00000000 00010000 0001 01 14 /run/with blank\n";
  EXPECT_TRUE(is_listening(list, "/run/listens"));
  EXPECT_TRUE(is_listening(list, "/run/with blank"));
  EXPECT_FALSE(is_listening(list, "/run/connected"));
  EXPECT_FALSE(is_listening(list, "/run/with"));
  EXPECT_FALSE(is_listening(list, ""));
  EXPECT_FALSE(is_listening("", "/run/listens"));
}

}  // namespace
}  // namespace lamina::lifecycle
