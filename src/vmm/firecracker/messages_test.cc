#include "vmm/firecracker/messages.h"

#include <gtest/gtest.h>

namespace lamina::vmm {
namespace {

constexpr std::string_view kInfo =
    R"({"app_name":"Firecracker","id":"vm-1","state":"Paused","vmm_version":"1.17.0-dev"})";
constexpr std::string_view kConfig =
    R"({"huge_pages":"2M","mem_size_mib":4096,"smt":false,"track_dirty_pages":true,"vcpu_count":2})";

TEST(FirecrackerJsonTest, InstanceInfoIsRead) {
  const auto info = decode_instance_info(kInfo);
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->id, "vm-1");
  EXPECT_EQ(info->state, VmState::kPaused);
  EXPECT_EQ(info->version, "1.17.0-dev");
}

TEST(FirecrackerJsonTest, OnlyTheThreeStatesAreAccepted) {
  const auto state_of = [](const std::string& name) {
    return decode_instance_info(R"({"id":"a","vmm_version":"1.1.1","state":")" + name + R"("})");
  };
  EXPECT_EQ(state_of("Not started")->state, VmState::kNotStarted);
  EXPECT_EQ(state_of("Running")->state, VmState::kRunning);
  EXPECT_EQ(state_of("Paused")->state, VmState::kPaused);
  const auto unknown = state_of("Dreaming");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("'Dreaming'"), std::string::npos);
}

TEST(FirecrackerJsonTest, MachineConfigIsRead) {
  const auto config = decode_machine_config(kConfig);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->memory_mib, 4096);
  EXPECT_EQ(config->vcpu_count, 2);
  EXPECT_TRUE(config->track_dirty_pages);
  EXPECT_EQ(config->huge_pages, "2M");
}

TEST(FirecrackerJsonTest, MissingHugePagesFieldMeansNone) {
  const auto config =
      decode_machine_config(R"({"mem_size_mib":128,"track_dirty_pages":false,"vcpu_count":1})");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->huge_pages, "None");
}

TEST(FirecrackerJsonTest, WrongTypesAndValuesNameTheirField) {
  const auto error_of = [](const std::string& fields) {
    const auto config = decode_machine_config("{" + fields + "}");
    return config ? std::string("accepted") : config.error().message;
  };
  EXPECT_EQ(error_of(R"("mem_size_mib":"1","vcpu_count":1,"track_dirty_pages":true)"),
            "field 'mem_size_mib' of the response is missing or wrong");
  EXPECT_EQ(error_of(R"("mem_size_mib":0,"vcpu_count":1,"track_dirty_pages":true)"),
            "field 'mem_size_mib' of the response is missing or wrong");
  EXPECT_EQ(error_of(R"("mem_size_mib":16777216,"vcpu_count":1,"track_dirty_pages":true)"),
            "field 'mem_size_mib' of the response is missing or wrong");
  EXPECT_EQ(error_of(R"("mem_size_mib":16777215,"vcpu_count":1,"track_dirty_pages":true)"),
            "accepted");
  EXPECT_EQ(error_of(R"("mem_size_mib":1,"vcpu_count":4294967296,"track_dirty_pages":true)"),
            "field 'vcpu_count' of the response is missing or wrong");
  EXPECT_EQ(error_of(R"("mem_size_mib":1,"vcpu_count":-1,"track_dirty_pages":true)"),
            "field 'vcpu_count' of the response is missing or wrong");
  EXPECT_EQ(error_of(R"("mem_size_mib":1,"vcpu_count":1,"track_dirty_pages":1)"),
            "field 'track_dirty_pages' of the response is missing or wrong");
  EXPECT_EQ(error_of(R"("mem_size_mib":1,"vcpu_count":1,"track_dirty_pages":true,"huge_pages":2)"),
            "field 'huge_pages' of the response is missing or wrong");
}

TEST(FirecrackerJsonTest, EveryTruncationIsRejected) {
  for (std::size_t size = 0; size < kInfo.size(); ++size) {
    EXPECT_FALSE(decode_instance_info(kInfo.substr(0, size))) << size;
  }
  for (std::size_t size = 0; size < kConfig.size(); ++size) {
    EXPECT_FALSE(decode_machine_config(kConfig.substr(0, size))) << size;
  }
}

TEST(FirecrackerJsonTest, OtherJsonIsRejected) {
  for (const char* text : {"null", "[]", "\"text\"", "{}", "{}{}", "7", "\xff\xfe"}) {
    EXPECT_FALSE(decode_instance_info(text)) << text;
    EXPECT_FALSE(decode_machine_config(text)) << text;
  }
}

TEST(FirecrackerJsonTest, FaultMessageIsShownWithoutControlCharacters) {
  EXPECT_EQ(decode_fault(R"({"fault_message":"no such thing: \u00e4"})"),
            "no such thing: \xc3\xa4");
  EXPECT_EQ(decode_fault(R"({"fault_message":"a\n\u001b[31mb\u007f\u009b\u2028c"})"),
            "a??[31mb???c");
}

TEST(FirecrackerJsonTest, FaultWithoutMessageShowsTheBody) {
  EXPECT_EQ(decode_fault(""), "it gave no reason");
  EXPECT_EQ(decode_fault("a\tb\x1b\xff"), "it answered \"a\\tb\\u001b\xef\xbf\xbd\"");
  EXPECT_EQ(decode_fault(R"({"fault_message":7})"), R"(it answered "{\"fault_message\":7}")");
  EXPECT_EQ(decode_fault(R"({"fault_message":""})"), R"(it answered "{\"fault_message\":\"\"}")");
}

TEST(FirecrackerJsonTest, LongFaultIsCutBetweenCharacters) {
  std::string text;
  while (text.size() < 10000) text += "\xe2\x82\xac";  // three bytes each
  const std::string shown = decode_fault("{\"fault_message\":\"" + text + "\"}");
  EXPECT_LE(shown.size(), 4096);
  EXPECT_EQ(shown.size() % 3, 0);
  EXPECT_EQ(shown.substr(shown.size() - 6), "\xe2\x82\xac...");
}

TEST(FirecrackerJsonTest, CreateIsWritten) {
  EXPECT_EQ(
      *encode_create({SnapshotType::kDiff, "/s/state", "/s/mem \"1\""}),
      R"({"snapshot_type":"Diff","snapshot_path":"/s/state","mem_file_path":"/s/mem \"1\""})");
  EXPECT_EQ(*encode_create({SnapshotType::kFull, "a", "b"}),
            R"({"snapshot_type":"Full","snapshot_path":"a","mem_file_path":"b"})");
}

TEST(FirecrackerJsonTest, LoadHasOnlyTheFieldsThatAreSet) {
  LoadRequest request;
  request.state_path = "/s";
  request.backend_path = "/m";
  EXPECT_EQ(*encode_load(request),
            R"({"snapshot_path":"/s","mem_backend":{"backend_type":"File","backend_path":"/m"},)"
            R"("track_dirty_pages":true,"resume_vm":false})");
  request.backend = MemoryBackend::kUffd;
  request.resume_vm = true;
  request.network_overrides = {{"eth0", "tap1"}, {"eth1", "tap2"}};
  request.vsock_path = "/v";
  EXPECT_EQ(*encode_load(request),
            R"({"snapshot_path":"/s","mem_backend":{"backend_type":"Uffd","backend_path":"/m"},)"
            R"("track_dirty_pages":true,"resume_vm":true,)"
            R"("network_overrides":[{"iface_id":"eth0","host_dev_name":"tap1"},)"
            R"({"iface_id":"eth1","host_dev_name":"tap2"}],"vsock_override":{"uds_path":"/v"}})");
  request = {};
  request.state_path = "/s";
  request.backend_path = "/m";
  request.is_before_1_13 = true;
  EXPECT_EQ(*encode_load(request),
            R"({"snapshot_path":"/s","mem_backend":{"backend_type":"File","backend_path":"/m"},)"
            R"("enable_diff_snapshots":true,"resume_vm":false})");
  request.is_before_1_13 = false;
  request.clock_realtime = true;
  request.huge_pages = "2M";
  EXPECT_EQ(*encode_load(request),
            R"({"snapshot_path":"/s","mem_backend":{"backend_type":"File","backend_path":"/m"},)"
            R"("track_dirty_pages":true,"resume_vm":false,"clock_realtime":true,)"
            R"("huge_pages":"2M"})");
}

TEST(FirecrackerJsonTest, HotpluggableMemoryIsRead) {
  constexpr std::string_view kStatus =
      R"({"block_size_mib":2,"total_size_mib":1024,"slot_size_mib":128,"plugged_size_mib":0,)"
      R"("requested_size_mib":0})";
  const auto size = decode_hotplug_memory_mib(kStatus);
  ASSERT_TRUE(size) << size.error().message;
  EXPECT_EQ(*size, 1024);
  for (std::size_t end = 0; end < kStatus.size(); ++end) {
    EXPECT_FALSE(decode_hotplug_memory_mib(kStatus.substr(0, end))) << end;
  }
  for (const char* text : {"null", "{}", R"({"total_size_mib":-1})", R"({"total_size_mib":"1"})",
                           R"({"total_size_mib":0})", R"({"total_size_mib":16777216})"}) {
    EXPECT_FALSE(decode_hotplug_memory_mib(text)) << text;
  }
}

TEST(FirecrackerJsonTest, PathsThatJsonCannotRepresentAreRejected) {
  const auto error_of = [](const std::string& path) {
    const auto body = encode_create({SnapshotType::kFull, "/state", path});
    return body ? std::string("accepted") : body.error().message;
  };
  EXPECT_NE(error_of("/m/\xff").find("is not UTF-8"), std::string::npos);
  EXPECT_NE(error_of("/m/\xc3").find("is not UTF-8"), std::string::npos);
  EXPECT_NE(error_of("/m/\xed\xa0\x80").find("is not UTF-8"), std::string::npos);  // a surrogate
  EXPECT_EQ(error_of(""), "the memory file path is empty");
  EXPECT_EQ(error_of(std::string("a\0b", 3)), "the memory file path contains a NUL byte");
  EXPECT_EQ(error_of("/m/\xc3\xa4\n\"\\\x01"), "accepted");
}

}  // namespace
}  // namespace lamina::vmm
