#include "os/listening_socket.h"

#include <gtest/gtest.h>
#include <poll.h>

#include "no_free_descriptor.h"
#include "os/unix_socket.h"
#include "scratch_directory.h"

namespace lamina::os {
namespace {

TEST(ListeningSocketTest, BacksOffWhileNoDescriptorIsFree) {
  const tests::ScratchDirectory scratch;
  const std::string path = scratch.file("socket");
  auto bound = listen_at(path, {});
  ASSERT_TRUE(bound) << bound.error().message;
  ListeningSocket socket(std::move(*bound));
  EXPECT_EQ(socket.expire(), -1);
  const auto client = connect_to(path);
  ASSERT_TRUE(client);
  {
    const tests::NoFreeDescriptor shortage;
    EXPECT_FALSE(socket.accept(path));
  }
  EXPECT_EQ(socket.polled_fd(), -1);
  EXPECT_GE(socket.fd(), 0);
  // Until expire() returns 0, whatever the time is: its caller reads polled_fd() again after that.
  for (int wait_ms = socket.expire(); wait_ms != 0; wait_ms = socket.expire()) {
    ASSERT_GT(wait_ms, 0) << "no back-off";
    EXPECT_EQ(socket.polled_fd(), -1);
    ::poll(nullptr, 0, wait_ms);
    EXPECT_EQ(socket.polled_fd(), -1);
  }
  EXPECT_EQ(socket.polled_fd(), socket.fd());
  EXPECT_EQ(socket.expire(), -1);
  const auto accepted = socket.accept(path);
  EXPECT_TRUE(accepted && *accepted);
  EXPECT_EQ(socket.polled_fd(), socket.fd());
}

TEST(ListeningSocketTest, NoPendingConnectionIsNoFailure) {
  const tests::ScratchDirectory scratch;
  const std::string path = scratch.file("socket");
  auto bound = listen_at(path, {});
  ASSERT_TRUE(bound) << bound.error().message;
  ListeningSocket socket(std::move(*bound));
  const auto accepted = socket.accept(path);
  ASSERT_TRUE(accepted);
  EXPECT_FALSE(*accepted);
  EXPECT_FALSE(socket.backs_off());
}

}  // namespace
}  // namespace lamina::os
