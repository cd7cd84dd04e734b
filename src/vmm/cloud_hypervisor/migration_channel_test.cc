#include "vmm/cloud_hypervisor/migration_channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <thread>

#include "os/file.h"
#include "os/unix_socket.h"

namespace lamina::vmm {
namespace {

const MigrationWait kShortWait{std::chrono::milliseconds(200), -1, nullptr};
const MigrationWait kLongWait{std::chrono::seconds(20), -1, nullptr};

struct Pair {
  Pair() {
    std::array<int, 2> sockets{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0) std::abort();
    ours = os::Fd(sockets[0]);
    theirs = os::Fd(sockets[1]);
  }

  void send(std::span<const std::byte> bytes, std::span<const int> fds = {}) const {
    ASSERT_TRUE(os::send_message(theirs.get(), bytes, fds, os::WhenFull::kWait));
  }
  void send(std::string_view text) const { send(std::as_bytes(std::span(text))); }

  os::Fd ours;
  os::Fd theirs;
};

TEST(MigrationChannel, ReceivesAPayload) {
  Pair pair;
  pair.send(encode_request({MigrationCommand::kConfig, 5}));
  pair.send("hello");
  MigrationChannel channel(std::move(pair.ours));
  const auto request = channel.receive_request(kShortWait);
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->command, MigrationCommand::kConfig);
  EXPECT_EQ(request->payload, "hello");
}

TEST(MigrationChannel, ReceivesADescriptorWithItsSlot) {
  for (const bool is_with_header : {false, true}) {
    Pair pair;
    const os::Fd file = os::make_memory_file("test").value();
    const std::array<int, 1> fds = {file.get()};
    const auto header = encode_request({MigrationCommand::kMemoryFd, kMemorySlotBytes});
    if (is_with_header) {
      pair.send(header, fds);
      pair.send(encode_slot(7));
    } else {
      pair.send(header);
      pair.send(encode_slot(7), fds);
    }
    MigrationChannel channel(std::move(pair.ours));
    const auto request = channel.receive_request(kShortWait);
    ASSERT_TRUE(request) << request.error().message;
    EXPECT_EQ(request->slot, 7U);
    EXPECT_TRUE(os::facts_of(request->memory.get(), "received")
                    ->same_file(*os::facts_of(file.get(), "sent")));
  }
}

TEST(MigrationChannel, RefusesDescriptorsThatAreMissingOrNotExpected) {
  const os::Fd file = os::make_memory_file("test").value();
  const std::array<int, 1> fds = {file.get()};
  Pair without;
  without.send(encode_request({MigrationCommand::kMemoryFd, kMemorySlotBytes}));
  without.send(encode_slot(7));
  EXPECT_FALSE(MigrationChannel(std::move(without.ours)).receive_request(kShortWait));
  Pair with;
  with.send(encode_request({MigrationCommand::kStart, 0}), fds);
  EXPECT_FALSE(MigrationChannel(std::move(with.ours)).receive_request(kShortWait));
}

TEST(MigrationChannel, SendsADescriptorWithItsSlot) {
  Pair pair;
  const os::Fd file = os::make_memory_file("test").value();
  MigrationChannel peer(std::move(pair.theirs));
  std::optional<Result<ReceivedRequest>> received;
  std::jthread receiver([&] {
    received.emplace(peer.receive_request(kLongWait));
    static_cast<void>(peer.send_answer(MigrationAnswer::kOk, kLongWait));
  });
  MigrationChannel channel(std::move(pair.ours));
  EXPECT_TRUE(channel.send_memory(9, file.get(), kLongWait));
  receiver.join();
  ASSERT_TRUE(received && *received);
  EXPECT_EQ((*received)->slot, 9U);
  EXPECT_TRUE(os::facts_of((*received)->memory.get(), "received")
                  ->same_file(*os::facts_of(file.get(), "sent")));
}

TEST(MigrationChannel, EveryCutIsAnError) {
  std::string whole(kMigrationHeaderBytes, '\0');
  const auto header = encode_request({MigrationCommand::kState, 3});
  std::memcpy(whole.data(), header.data(), header.size());
  whole += "abc";
  for (std::size_t length = 0; length < whole.size(); ++length) {
    Pair pair;
    if (length > 0) pair.send(whole.substr(0, length));
    pair.theirs.reset();
    const auto request = MigrationChannel(std::move(pair.ours)).receive_request(kShortWait);
    ASSERT_FALSE(request) << length;
    EXPECT_TRUE(request.error().message.contains("closed")) << request.error().message;
  }
}

TEST(MigrationChannel, SilenceEnds) {
  Pair pair;
  const auto request = MigrationChannel(std::move(pair.ours))
                           .receive_request({std::chrono::milliseconds(1), -1, nullptr});
  ASSERT_FALSE(request);
  EXPECT_TRUE(request.error().message.contains("silent"));
}

TEST(MigrationChannel, ARefusedRequestNamesTheMessage) {
  for (const MigrationAnswer answer : {MigrationAnswer::kOk, MigrationAnswer::kError}) {
    Pair pair;
    MigrationChannel peer(std::move(pair.theirs));
    std::jthread receiver([&] {
      if (peer.receive_request(kLongWait)) static_cast<void>(peer.send_answer(answer, kLongWait));
    });
    MigrationChannel channel(std::move(pair.ours));
    const Status done = channel.request(MigrationCommand::kState, "{}", kLongWait);
    EXPECT_EQ(done.has_value(), answer == MigrationAnswer::kOk);
    if (!done) {
      EXPECT_TRUE(done.error().message.contains("State"));
    }
  }
}

}  // namespace
}  // namespace lamina::vmm
