#include "vmm/cloud_hypervisor/migration_message.h"

#include <gtest/gtest.h>

#include <cstring>
#include <initializer_list>

namespace lamina::vmm {
namespace {

MigrationHeader header_of(std::uint16_t command, std::uint16_t next, std::uint64_t length) {
  MigrationHeader header{};
  std::memcpy(header.data(), &command, sizeof(command));
  std::memcpy(header.data() + 2, &next, sizeof(next));
  std::memcpy(header.data() + 8, &length, sizeof(length));
  return header;
}

TEST(MigrationMessage, RequestsAreSixteenBytesLittleEndian) {
  EXPECT_EQ(encode_request({MigrationCommand::kConfig, 0x1234}), header_of(2, 0, 0x1234));
  EXPECT_EQ(encode_answer(MigrationAnswer::kError), header_of(2, 0, 0));
}

TEST(MigrationMessage, EveryRequestIsReadBack) {
  for (const MigrationRequest& request : {MigrationRequest{MigrationCommand::kStart, 0},
                                          {MigrationCommand::kConfig, 9},
                                          {MigrationCommand::kState, 30'000},
                                          {MigrationCommand::kComplete, 0},
                                          {MigrationCommand::kMemoryFd, 4},
                                          {MigrationCommand::kCompletePaused, 0}}) {
    const auto decoded = decode_request(encode_request(request));
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, request);
  }
}

TEST(MigrationMessage, AnotherProtocolIsRefused) {
  const auto decoded = decode_request(header_of(1, 1, 0));
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().kind, ErrorKind::kUnsupported);
  EXPECT_TRUE(decoded.error().message.contains("version 1"));
}

TEST(MigrationMessage, MessagesOfOtherMigrationsAreRefused) {
  for (const std::uint16_t command : std::initializer_list<std::uint16_t>{4, 6, 9}) {
    EXPECT_EQ(decode_request(header_of(command, 0, 0)).error().kind, ErrorKind::kUnsupported);
  }
  for (const std::uint16_t command : std::initializer_list<std::uint16_t>{0, 10, 0xffff}) {
    EXPECT_EQ(decode_request(header_of(command, 0, 0)).error().kind, ErrorKind::kCorrupt);
  }
}

TEST(MigrationMessage, LengthsAreBounded) {
  EXPECT_FALSE(decode_request(header_of(1, 0, 1)));
  EXPECT_FALSE(decode_request(header_of(2, 0, 0)));
  EXPECT_FALSE(decode_request(header_of(2, 0, kMaxConfigBytes + 1)));
  EXPECT_FALSE(decode_request(header_of(3, 0, UINT64_MAX)));
  EXPECT_FALSE(decode_request(header_of(7, 0, 8)));
  EXPECT_FALSE(decode_request(header_of(5, 0, 16)));
}

TEST(MigrationMessage, HeadersThatAreNotZeroAreRefused) {
  EXPECT_FALSE(decode_request(header_of(2, 1, 9)));
  EXPECT_FALSE(decode_answer(header_of(1, 1, 0)));
  EXPECT_FALSE(decode_answer(header_of(1, 0, 1)));
  EXPECT_FALSE(decode_answer(header_of(0, 0, 0)));
  EXPECT_FALSE(decode_answer(header_of(3, 0, 0)));
}

TEST(MigrationMessage, SlotsAreReadBack) {
  for (const std::uint32_t slot : {0U, 1U, 0x12345678U, 0xffffffffU}) {
    EXPECT_EQ(decode_slot(encode_slot(slot)), slot);
  }
}

}  // namespace
}  // namespace lamina::vmm
