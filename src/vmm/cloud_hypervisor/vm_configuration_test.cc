#include "vmm/cloud_hypervisor/vm_configuration.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "vmm/cloud_hypervisor/vm_state.h"

namespace lamina::vmm {
namespace {

using nlohmann::json;

constexpr std::uint64_t kGib = std::uint64_t{1} << 30;

json config_with_gap() {
  return {{"vm_config",
           {{"memory", {{"size", 4 * kGib}, {"shared", true}, {"zones", nullptr}}},
            {"net", json::array({{{"id", "eth0"}, {"tap", "tap0"}}})},
            {"vsock", {{"cid", 3}, {"socket", "/run/v.sock"}}}}},
          {"common_cpuid", json::array({{{"function", 1}}})},
          {"memory_manager_data",
           {{"memory_ranges",
             {{"data", json::array({{{"gpa", 0}, {"length", 3 * kGib}},
                                    {{"gpa", 4 * kGib}, {"length", kGib}}})}}},
            {"guest_ram_mappings", json::array({{{"slot", 5},
                                                 {"gpa", 4 * kGib},
                                                 {"size", kGib},
                                                 {"file_offset", 0},
                                                 {"zone_id", "mem0"}},
                                                {{"slot", 2},
                                                 {"gpa", 0},
                                                 {"size", 3 * kGib},
                                                 {"file_offset", 0},
                                                 {"zone_id", "mem0"}}})}}}};
}

TEST(VmConfiguration, RangesAreInTheOrderOfTheirAddresses) {
  const auto layout = decode_layout(config_with_gap().dump());
  ASSERT_TRUE(layout) << layout.error().message;
  EXPECT_EQ(layout->memory_bytes, 4 * kGib);
  ASSERT_EQ(layout->mappings.size(), 2U);
  EXPECT_EQ(layout->mappings[0], (RamMapping{2, 0, 3 * kGib, 0, "mem0", 0}));
  EXPECT_EQ(layout->mappings[1], (RamMapping{5, 4 * kGib, kGib, 0, "mem0", 3 * kGib}));
}

TEST(VmConfiguration, RangesThatCannotBeAreRefused) {
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, json>>{{"gpa", kGib},
                                                           {"size", 0},
                                                           {"size", 4095},
                                                           {"size", UINT64_MAX},
                                                           {"gpa", UINT64_MAX - 4095},
                                                           {"gpa", -1},
                                                           {"slot", kGib * 8},
                                                           {"file_offset", 1},
                                                           {"zone_id", 7},
                                                           {"size", "big"}}) {
    json config = config_with_gap();
    config["memory_manager_data"]["guest_ram_mappings"][0][name] = value;
    EXPECT_FALSE(decode_layout(config.dump())) << name << " " << value;
  }
  for (const char* text :
       {"", "[]", "{}", "{\"memory_manager_data\":{\"guest_ram_mappings\":[]}}"}) {
    EXPECT_FALSE(decode_layout(text));
  }
  EXPECT_FALSE(decode_layout(std::string(100'000, '[')));
  EXPECT_FALSE(decode_layout("{\"a\":" + std::string(100'000, '[')));
}

TEST(VmConfiguration, AResumedVmMapsTheFilePrivately) {
  const auto changed =
      configure_resume(config_with_gap().dump(), {.memory_file = "/s/map",
                                                  .networks = {{"eth0", "tap9"}},
                                                  .paths = {.vsock_socket = "/run/w.sock"}});
  ASSERT_TRUE(changed) << changed.error().message;
  const json config = json::parse(*changed);
  const json& memory = config["vm_config"]["memory"];
  EXPECT_EQ(memory["size"], 0);
  EXPECT_EQ(memory["shared"], true);
  ASSERT_EQ(memory["zones"].size(), 1U);
  EXPECT_EQ(memory["zones"][0]["size"], 4 * kGib);
  EXPECT_EQ(memory["zones"][0]["file"], "/s/map");
  EXPECT_EQ(memory["zones"][0]["shared"], false);
  EXPECT_EQ(config["memory_manager_data"]["guest_ram_mappings"][0]["file_offset"], 3 * kGib);
  EXPECT_EQ(config["memory_manager_data"]["guest_ram_mappings"][1]["file_offset"], 0);
  EXPECT_EQ(config["vm_config"]["net"][0]["tap"], "tap9");
  EXPECT_EQ(config["vm_config"]["vsock"]["socket"], "/run/w.sock");
  EXPECT_EQ(config["common_cpuid"], config_with_gap()["common_cpuid"]);
}

TEST(VmConfiguration, DevicesThatDoNotExistAreRefused) {
  const std::string config = config_with_gap().dump();
  EXPECT_FALSE(configure_resume(config, {.memory_file = "/m", .networks = {{"eth1", "tap9"}}}));
  json without = config_with_gap();
  without["vm_config"]["vsock"] = nullptr;
  EXPECT_FALSE(
      configure_resume(without.dump(), {.memory_file = "/m", .paths = {.vsock_socket = "/v"}}));
}

TEST(VmConfiguration, PathsOfTheHostAreFoundAndChanged) {
  json config = config_with_gap();
  config["vm_config"]["disks"] =
      json::array({{{"id", "_disk0"}, {"path", "/a"}, {"readonly", false}},
                   {{"id", "_disk1"}, {"path", "/b"}, {"readonly", true}}});
  config["vm_config"]["pmem"] = json::array({{{"id", "p"}, {"file", "/p"}}});
  config["vm_config"]["serial"] = {{"mode", "File"}, {"file", "/s"}};
  config["vm_config"]["console"] = {{"mode", "Socket"}, {"socket", "/c"}};
  config["vm_config"]["vsock"] = {{"cid", 3}, {"socket", "/v"}};
  const std::vector<WrittenPath> before = {{"/a", "disk '_disk0'", "drive_override", false},
                                           {"/p", "pmem 'p'", "drive_override", false},
                                           {"/s", "serial", "serial_override", false},
                                           {"/c", "console", "console_override", true},
                                           {"/v", "vsock", "vsock_override", true}};
  EXPECT_EQ(written_paths(config.dump()).value(), before);
  const ResumeConfiguration change = {.memory_file = "/m",
                                      .paths = {.drives = {{"_disk0", "/a2"}, {"p", "/p2"}},
                                                .serial = "/s2",
                                                .console = "/c2",
                                                .vsock_socket = "/v2"}};
  const auto changed = configure_resume(config.dump(), change);
  ASSERT_TRUE(changed) << changed.error().message;
  std::vector<WrittenPath> after = before;
  for (WrittenPath& path : after) path.path += "2";
  EXPECT_EQ(written_paths(*changed).value(), after);
}

TEST(VmConfiguration, PathsOfDevicesThatHaveNoneAreRefused) {
  json config = config_with_gap();
  config["vm_config"]["serial"] = {{"mode", "Null"}, {"file", nullptr}};
  const auto refusal = [&](const HostPaths& paths) {
    const auto changed = configure_resume(config.dump(), {.memory_file = "/m", .paths = paths});
    return changed ? ErrorKind::kFailed : changed.error().kind;
  };
  EXPECT_EQ(refusal({.serial = "/s"}), ErrorKind::kUsage);
  EXPECT_EQ(refusal({.console = "/c"}), ErrorKind::kUsage);
  EXPECT_EQ(refusal({.drives = {{"none", "/d"}}}), ErrorKind::kUsage);
}

TEST(VmConfiguration, VhostUserNeedsSharedMemory) {
  json config = config_with_gap();
  config["vm_config"]["net"][0]["vhost_user"] = true;
  const auto changed = configure_resume(config.dump(), {.memory_file = "/m"});
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().kind, ErrorKind::kUnsupported);
}

TEST(VmConfiguration, HugePagesAreNamedByZone) {
  constexpr std::uint64_t kPage = std::uint64_t{2} << 20;
  const auto decoded = [](const json& memory) {
    const json config = {{"vm_config", {{"memory", memory}}}};
    return decode_memory(config.dump()).value();
  };
  const auto whole = decoded({{"size", kGib}, {"hugepages", true}, {"hugepage_size", nullptr}});
  ASSERT_NE(whole.huge_zone_of("mem0"), nullptr);
  EXPECT_EQ(whole.huge_zone_of("mem0")->page_bytes, 0U);
  const auto zoned = decoded(
      {{"size", 0},
       {"zones",
        json::array(
            {{{"id", "a"}, {"size", kGib}, {"shared", true}},
             {{"id", "b"}, {"size", kGib}, {"hugepages", true}, {"hugepage_size", kPage}}})}});
  EXPECT_EQ(zoned.huge_zone_of("a"), nullptr);
  ASSERT_NE(zoned.huge_zone_of("b"), nullptr);
  EXPECT_EQ(zoned.huge_zone_of("b")->page_bytes, kPage);
}

TEST(VmConfiguration, MemoryInMemfdsKeepsItsZonesAndLosesItsFiles) {
  json config = config_with_gap();
  config["vm_config"]["memory"] = {
      {"size", 0},
      {"hugepages", false},
      {"zones",
       json::array({{{"id", "mem0"}, {"size", 3 * kGib}, {"file", "/f"}, {"shared", false}},
                    {{"id", "mem1"}, {"size", kGib}, {"shared", false}, {"hugepages", true}}})}};
  config["memory_manager_data"]["guest_ram_mappings"][0]["file_offset"] = kGib;
  const auto changed = configure_resume(config.dump(), {});
  ASSERT_TRUE(changed) << changed.error().message;
  const json made = json::parse(*changed);
  const json& zones = made["vm_config"]["memory"]["zones"];
  EXPECT_EQ(zones[0]["file"], nullptr);
  EXPECT_EQ(zones[0]["shared"], true);
  EXPECT_EQ(zones[1], config["vm_config"]["memory"]["zones"][1]);
  for (const json& mapping : made["memory_manager_data"]["guest_ram_mappings"]) {
    EXPECT_EQ(mapping["file_offset"], 0);
  }
}

std::string obstacle_of(const json& memory) {
  const json info = {{"state", "Running"}, {"config", {{"memory", memory}}}};
  const auto decoded = decode_vm_info(info.dump());
  return decoded ? decoded->memory.obstacle : decoded.error().message;
}

TEST(VmConfiguration, MemoryThatCannotBeCapturedIsNamed) {
  EXPECT_EQ(obstacle_of({{"size", kGib}, {"shared", true}}), "");
  EXPECT_EQ(
      obstacle_of(
          {{"size", 0},
           {"zones",
            json::array({{{"id", "z"}, {"size", kGib}, {"file", "/f"}, {"shared", false}}})}}),
      "");
  EXPECT_TRUE(obstacle_of({{"size", kGib}, {"shared", false}}).contains("anonymous"));
  EXPECT_TRUE(
      obstacle_of({{"size", 0},
                   {"shared", true},
                   {"zones", json::array({{{"id", "z"}, {"size", kGib}, {"shared", false}}})}})
          .contains("'z' is private"));
  EXPECT_EQ(obstacle_of({{"size", kGib}, {"shared", false}, {"hugepages", true}}), "");
  EXPECT_TRUE(
      obstacle_of(
          {{"size", 0},
           {"zones",
            json::array({{{"id", "z"}, {"size", kGib}, {"file", "/f"}, {"hugepages", true}}})}})
          .contains("'z' is a file on huge pages"));
  for (const json& size : {json(3 << 20), json(4096), json(-1), json("2M")}) {
    EXPECT_TRUE(
        obstacle_of(
            {{"size", kGib}, {"shared", true}, {"hugepages", true}, {"hugepage_size", size}})
            .contains("hugepage_size"));
  }
  EXPECT_TRUE(
      obstacle_of({{"size", kGib}, {"shared", true}, {"hotplug_size", kGib}}).contains("hotplug"));
}

TEST(VmConfiguration, AnswersOfTheApi) {
  EXPECT_EQ(decode_ping(R"({"version":"v53.0","pid":1})").value(), "v53.0");
  EXPECT_FALSE(decode_ping("{}"));
  EXPECT_EQ(decode_api_error(R"(["Error from API","VM is not created"])"),
            "Error from API: VM is not created");
  EXPECT_EQ(decode_api_error(""), "no reason given");
  EXPECT_EQ(decode_api_error("a\nb"), "a?b");
  EXPECT_EQ(encode_send_migration("/s").value(), R"({"destination_url":"unix:/s","local":true})");
  EXPECT_EQ(encode_receive_migration("/s").value(),
            R"({"receiver_url":"unix:/s","memory_mode":"Precopy"})");
}

json state_of(const json& config) {
  const json vm = {{"common_cpuid", config["common_cpuid"]}};
  return {{"snapshots",
           {{"memory-manager",
             {{"snapshot_data", {{"state", config["memory_manager_data"].dump()}}}}}}},
          {"snapshot_data", {{"state", vm.dump()}}}};
}

TEST(VmState, ASavedVmIsReadBackByteForByte) {
  const SavedVm vm{"v53.0", "{\"a\": 1.50}", "{ \"b\":\"\\u00e9\"}"};
  const std::string text = encode_saved_vm(vm);
  EXPECT_TRUE(is_saved_vm(std::as_bytes(std::span(text))));
  EXPECT_EQ(decode_saved_vm(std::as_bytes(std::span(text))).value(), vm);
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(decode_saved_vm(std::as_bytes(std::span(text).first(length)))) << length;
  }
}

TEST(VmState, ASnapshotOfCloudHypervisorsOwnAndBack) {
  const json config = config_with_gap();
  const SnapshotFiles files{config["vm_config"].dump(), state_of(config).dump()};
  const auto saved = from_snapshot_files(files);
  ASSERT_TRUE(saved) << saved.error().message;
  const json made = json::parse(saved->config);
  EXPECT_EQ(made["vm_config"], config["vm_config"]);
  EXPECT_EQ(made["common_cpuid"], config["common_cpuid"]);
  EXPECT_EQ(made["memory_manager_data"], config["memory_manager_data"]);
  const auto back = to_snapshot_files(*saved);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(json::parse(back->config), config["vm_config"]);
  EXPECT_EQ(back->state, files.state);
}

TEST(VmState, ZonesOfAStoreBecomeSharedMemory) {
  json config = config_with_gap();
  const std::string state = state_of(config).dump();
  const auto resumed = configure_resume(config.dump(), {.memory_file = "/s/map"});
  const auto files = to_snapshot_files({"v53.0", *resumed, state});
  ASSERT_TRUE(files) << files.error().message;
  const json zone = json::parse(files->config)["memory"]["zones"][0];
  EXPECT_EQ(zone["file"], nullptr);
  EXPECT_EQ(zone["shared"], true);
}

TEST(VmState, MemoryInAnotherOrderIsRefused) {
  json config = config_with_gap();
  std::swap(config["memory_manager_data"]["memory_ranges"]["data"][0],
            config["memory_manager_data"]["memory_ranges"]["data"][1]);
  const SnapshotFiles files{config["vm_config"].dump(), state_of(config).dump()};
  EXPECT_EQ(from_snapshot_files(files).error().kind, ErrorKind::kUnsupported);
  config["memory_manager_data"]["memory_ranges"]["data"] = json::array();
  EXPECT_EQ(to_snapshot_files({"v53.0", config.dump(), state_of(config).dump()}).error().kind,
            ErrorKind::kUnsupported);
}

}  // namespace
}  // namespace lamina::vmm
