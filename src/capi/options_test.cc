// Options of the C interface: sizes of other versions, wrong values, defaults, and where each goes.
#include "capi/options.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "capi/results.h"
#include "lamina.h"

namespace lamina::capi {
namespace {

/// Options with their size, and nothing else.
template <typename Options>
Options only_sized() {
  Options options{};
  options.struct_size = sizeof options;
  return options;
}

/// Options of a program that was compiled with a header of another version.
template <typename Options>
void expect_sizes_are_checked(const char* name) {
  constexpr std::size_t kFirst = kFirstSize<Options>;
  static_assert(kFirst <= sizeof(Options) && kFirst % alignof(Options) == 0);
  struct Newer {
    Options options;
    std::array<std::uint64_t, 4> added;
  };
  const auto code_of_reading = [&](Newer& given) {
    const auto read = read_struct(name, &given.options);
    return read ? LAMINA_OK : code_of(read.error().kind);
  };
  Newer newer{};
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, std::size_t{8}, kFirst - 1, std::size_t{4097}, SIZE_MAX}) {
    newer.options.struct_size = size;
    EXPECT_EQ(code_of_reading(newer), LAMINA_USAGE) << name << " " << size;
  }
  for (const std::size_t size : {kFirst, sizeof(Options)}) {
    newer.options.struct_size = size;
    EXPECT_EQ(code_of_reading(newer), LAMINA_OK) << name << " " << size;
  }
  newer.added[3] = 1;  // behind the struct's end
  newer.options.struct_size = sizeof newer - 8;
  EXPECT_EQ(code_of_reading(newer), LAMINA_OK) << name;
  newer.options.struct_size = sizeof newer;
  EXPECT_EQ(code_of_reading(newer), LAMINA_UNSUPPORTED) << name;
}

TEST(CApiOptionsTest, SizesOfOtherVersionsAreChecked) {
  expect_sizes_are_checked<lamina_ingest_options>("lamina_ingest_options");
  expect_sizes_are_checked<lamina_merge_options>("lamina_merge_options");
  expect_sizes_are_checked<lamina_compact_options>("lamina_compact_options");
  expect_sizes_are_checked<lamina_materialize_options>("lamina_materialize_options");
  expect_sizes_are_checked<lamina_verify_options>("lamina_verify_options");
  expect_sizes_are_checked<lamina_list_options>("lamina_list_options");
  expect_sizes_are_checked<lamina_fork_options>("lamina_fork_options");
  expect_sizes_are_checked<lamina_remove_options>("lamina_remove_options");
  expect_sizes_are_checked<lamina_vmm>("lamina_vmm");
  expect_sizes_are_checked<lamina_pause_options>("lamina_pause_options");
  expect_sizes_are_checked<lamina_resume_options>("lamina_resume_options");
  expect_sizes_are_checked<lamina_recover_options>("lamina_recover_options");
  expect_sizes_are_checked<lamina_pack_options>("lamina_pack_options");
  expect_sizes_are_checked<lamina_unpack_options>("lamina_unpack_options");
  expect_sizes_are_checked<lamina_push_options>("lamina_push_options");
  expect_sizes_are_checked<lamina_pull_options>("lamina_pull_options");
  expect_sizes_are_checked<lamina_remote_list_options>("lamina_remote_list_options");
  expect_sizes_are_checked<lamina_remote_remove_options>("lamina_remote_remove_options");
  expect_sizes_are_checked<lamina_prune_options>("lamina_prune_options");
  expect_sizes_are_checked<lamina_live_fork_options>("lamina_live_fork_options");
  expect_sizes_are_checked<lamina_clone_devices>("lamina_clone_devices");
  expect_sizes_are_checked<lamina_begin_pull_options>("lamina_begin_pull_options");
  expect_sizes_are_checked<lamina_fetch_options>("lamina_fetch_options");
  expect_sizes_are_checked<lamina_remote_key_list_options>("lamina_remote_key_list_options");
  expect_sizes_are_checked<lamina_remote_key_rotate_options>("lamina_remote_key_rotate_options");
  expect_sizes_are_checked<lamina_remote_key_destroy_options>("lamina_remote_key_destroy_options");
}

TEST(CApiOptionsTest, WhatIsBehindAnOlderProgramsStructIsNotRead) {
  // What was in the first version of lamina.h; a program of that time has other data behind it.
  static_assert(kFirstSize<lamina_pause_options> == offsetof(lamina_pause_options, once));
  static_assert(kFirstSize<lamina_resume_options> == offsetof(lamina_resume_options, mmds));
  static_assert(kFirstSize<lamina_push_options> == offsetof(lamina_push_options, dry_run));
  static_assert(kFirstSize<lamina_live_fork_options> ==
                offsetof(lamina_live_fork_options, devices));
  lamina_pause_options given{};
  given.struct_size = kFirstSize<lamina_pause_options>;
  given.full = 1;
  given.once = 77;
  given.reserved2 = 77;
  const auto read = read_struct("lamina_pause_options", &given);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->full, 1U);
  EXPECT_EQ(read->once, 0U);
  EXPECT_EQ(read->reserved2, 0U);
}

TEST(CApiOptionsTest, AStructThatEndsWithinAPointerIsRefused) {
  lamina_resume_options given{};
  given.mmds = "/mmds.json";
  for (std::size_t size = kFirstSize<lamina_resume_options>; size <= sizeof given; ++size) {
    given.struct_size = size;
    EXPECT_EQ(read_struct("lamina_resume_options", &given).has_value(), size % sizeof(void*) == 0)
        << size;
  }
}

TEST(CApiOptionsTest, MissingFieldsOfAnOlderProgramAreZero) {
  // A library whose struct has grown from 16 bytes to 32.
  const std::array<std::uint64_t, 2> older{16, 5};
  std::array<std::uint64_t, 4> known{1, 1, 1, 1};
  known.fill(0);
  EXPECT_TRUE(copy_versioned("options", older.data(), older[0], known.data(), sizeof known, 16));
  EXPECT_EQ(known, (std::array<std::uint64_t, 4>{16, 5, 0, 0}));
  const auto too_small =
      copy_versioned("options", older.data(), 15, known.data(), sizeof known, 16);
  ASSERT_FALSE(too_small);
  EXPECT_EQ(too_small.error().message, "options: struct_size is 15, not 32");
  EXPECT_EQ(too_small.error().remedy, "set struct_size to sizeof(options)");
}

TEST(CApiOptionsTest, AFieldOfANewerProgramIsNamedByItsPlace) {
  const std::array<std::uint64_t, 4> newer{32, 0, 0, 1};
  std::array<std::uint64_t, 2> known{};
  const auto unknown =
      copy_versioned("options", newer.data(), newer[0], known.data(), sizeof known, 16);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().message, "options: this library knows 16 bytes, and byte 24 is set");
}

/// The message about options of which one field is wrong.
template <typename Options, typename Set>
std::string refusal_of(Options options, Set set) {
  set(options);
  OptionReader reader;
  convert(reader, options);
  return reader.status() ? "" : reader.status().error().message;
}

TEST(CApiOptionsTest, NumbersThatAreNoEnumeratorsAreRefused) {
  auto ingest = only_sized<lamina_ingest_options>();
  ingest.snapshot = "one";
  EXPECT_EQ(refusal_of(ingest, [](auto& o) { o.kind = 3; }),
            "kind is 3, which is not one of its values in lamina.h");
  EXPECT_NE(refusal_of(ingest, [](auto& o) { o.layout = 3; }), "");
  EXPECT_NE(refusal_of(ingest, [](auto& o) { o.zeros = 3; }), "");
  EXPECT_NE(refusal_of(ingest, [](auto& o) { o.huge_pages = 4; }), "");
  EXPECT_NE(refusal_of(ingest, [](auto& o) { o.dedup = 2; }), "");
  EXPECT_NE(refusal_of(ingest, [](auto& o) { o.header = LAMINA_HEADER_UNKNOWN; }), "");
  EXPECT_EQ(refusal_of(ingest, [](auto& o) { o.consume = 2; }), "consume is 2, not 0 or 1");
  EXPECT_NE(refusal_of(ingest, [](auto& o) { o.replace = UINT32_MAX; }), "");
  EXPECT_NE(refusal_of(ingest, [](auto& o) { o.memory_fd = 1; }), "");
  EXPECT_NE(refusal_of(ingest, [](auto& o) { o.has_memory_fd = 1, o.memory_fd = -1; }), "");
  EXPECT_NE(refusal_of(ingest, [](auto& o) { o.memory_bytes = 1; }), "");
  EXPECT_EQ(refusal_of(ingest, [](auto&) {}), "");

  auto merge = only_sized<lamina_merge_options>();
  merge.snapshot = "one";
  EXPECT_EQ(refusal_of(merge, [](auto& o) { o.reserved = 1; }), "reserved is 1, not 0");
  auto resume = only_sized<lamina_resume_options>();
  auto vmm = only_sized<lamina_vmm>();
  vmm.api_socket = "socket";
  resume.vmm = &vmm;
  resume.name = "one";
  EXPECT_NE(refusal_of(resume, [](auto& o) { o.mode = 3; }), "");
  EXPECT_NE(refusal_of(resume, [](auto& o) { o.populate = 4; }), "");
  EXPECT_NE(refusal_of(resume, [](auto& o) { o.network_override_count = 1; }), "");
  EXPECT_NE(refusal_of(resume, [](auto& o) { o.drive_override_count = 1; }), "");
  const lamina_drive_override no_path{.drive_id = "_disk0", .path = nullptr};
  EXPECT_NE(refusal_of(resume,
                       [&](auto& o) { o.drive_overrides = &no_path, o.drive_override_count = 1; }),
            "");
  EXPECT_EQ(refusal_of(resume, [](auto&) {}), "");
  auto remove = only_sized<lamina_remove_options>();
  const char* name = "one";
  remove.snapshots = &name;
  EXPECT_NE(refusal_of(remove, [](auto& o) { o.snapshot_count = SIZE_MAX; }), "");
  vmm.load_timeout_ms = UINT64_MAX;
  EXPECT_NE(refusal_of(resume, [](auto&) {}), "");
  auto prune = only_sized<lamina_prune_options>();
  prune.url = "file:///x";
  EXPECT_NE(refusal_of(prune, [](auto& o) { o.keep_within_s = UINT64_MAX; }), "");
}

TEST(CApiOptionsTest, ZeroIsTheDefaultOfEveryOption) {
  OptionReader reader;
  const IngestOptions ingest = convert(reader, only_sized<lamina_ingest_options>());
  EXPECT_EQ(ingest.memory_fd, -1);
  EXPECT_FALSE(ingest.parent);
  EXPECT_FALSE(ingest.build_id);
  EXPECT_EQ(convert(reader, only_sized<lamina_compact_options>()).policy, kDefaultMergePolicy);
  EXPECT_EQ(convert(reader, only_sized<lamina_pack_options>()).frame_blocks,
            PackOptions().frame_blocks);
  EXPECT_EQ(convert(reader, only_sized<lamina_prune_options>()).pattern, "*");
  EXPECT_FALSE(convert(reader, only_sized<lamina_prune_options>()).keep_last);
  EXPECT_FALSE(convert(reader, only_sized<lamina_merge_options>()).layers);
  auto vmm = only_sized<lamina_vmm>();
  auto resume = only_sized<lamina_resume_options>();
  resume.vmm = &vmm;
  const ResumeOptions resumed = convert(reader, resume);
  EXPECT_EQ(resumed.populate, Populate::kWorkingSet);
  EXPECT_EQ(resumed.vmm.timeouts.create, VmmTimeouts().create);
  auto pause = only_sized<lamina_pause_options>();
  pause.vmm = &vmm;
  EXPECT_EQ(convert(reader, pause).hook_timeout, PauseOptions().hook_timeout);
  EXPECT_FALSE(convert(reader, pause).while_frozen);
  EXPECT_EQ(convert(reader, pause).freeze_memory_bytes, kFreezeMemoryShare);
  pause.freeze_memory_bytes = LAMINA_NO_FREEZE_MEMORY;
  EXPECT_EQ(convert(reader, pause).freeze_memory_bytes, 0U);
}

TEST(CApiOptionsTest, OptionsOfAPauseArriveInTheirPlaces) {
  const std::array<const char*, 2> attachments{"/a", "/b"};
  const std::array<const char*, 3> command{"lamina", "serve", "--store"};
  lamina_uuid id{};
  id.bytes[15] = 9;
  int calls = 0;
  auto vmm = only_sized<lamina_vmm>();
  vmm.api_socket = "socket";
  vmm.jail = "/jail";
  vmm.request_timeout_ms = 1;
  vmm.create_timeout_ms = 2;
  vmm.load_timeout_ms = 3;
  auto given = only_sized<lamina_pause_options>();
  given.vmm = &vmm;
  given.name = "one";
  given.frozen_hook = "true";
  given.hook_timeout_ms = 4;
  given.while_frozen = [](void* context) { return ++*static_cast<int*>(context); };
  given.context = &calls;
  given.attachments = attachments.data();
  given.attachment_count = attachments.size();
  given.pause_id = &id;
  given.page_server_command = command.data();
  given.page_server_argument_count = command.size();
  given.after = LAMINA_AFTER_STAY;
  given.full = 1;
  given.freeze_memory_bytes = 5;
  given.freeze_directory = "/shm";
  given.once = 1;
  OptionReader reader;
  const PauseOptions made = convert(reader, given);
  ASSERT_TRUE(reader.status());
  EXPECT_EQ(made.vmm.api_socket, "socket");
  EXPECT_EQ(made.vmm.jail, "/jail");
  EXPECT_EQ(made.vmm.timeouts.request.count(), 1);
  EXPECT_EQ(made.vmm.timeouts.create.count(), 2);
  EXPECT_EQ(made.vmm.timeouts.load.count(), 3);
  EXPECT_EQ(made.name, "one");
  EXPECT_EQ(made.frozen_hook, "true");
  EXPECT_EQ(made.hook_timeout.count(), 4);
  EXPECT_EQ(made.attachments, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_EQ(made.page_server_command, (std::vector<std::string>{"lamina", "serve", "--store"}));
  EXPECT_EQ(made.pause_id->bytes[15], 9);
  EXPECT_EQ(made.after, AfterPause::kStay);
  EXPECT_TRUE(made.full);
  EXPECT_FALSE(made.replace);
  EXPECT_EQ(made.freeze_memory_bytes, 5U);
  EXPECT_EQ(made.freeze_directory, "/shm");
  EXPECT_TRUE(made.once);
  const Status refused = made.while_frozen();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "while_frozen returned 1");
}

TEST(CApiOptionsTest, OptionsOfAResumeArriveInTheirPlaces) {
  auto vmm = only_sized<lamina_vmm>();
  vmm.api_socket = "socket";
  const std::array<lamina_network_override, 2> networks{{{"eth0", "tap0"}, {"eth1", "tap1"}}};
  auto given = only_sized<lamina_resume_options>();
  given.vmm = &vmm;
  given.name = "one";
  given.network_overrides = networks.data();
  given.network_override_count = networks.size();
  given.vsock_override = "/vsock";
  const std::array<lamina_drive_override, 2> drives{{{"_disk0", "/a"}, {"_disk1", "/b"}}};
  given.drive_overrides = drives.data();
  given.drive_override_count = drives.size();
  given.serial_override = "/serial";
  given.console_override = "/console";
  given.mode = LAMINA_RESUME_FILE;
  given.populate = LAMINA_POPULATE_NONE;
  given.huge_pages = LAMINA_HUGE_PAGES_2M;
  given.clock_realtime = 1;
  given.mmds = "/mmds.json";
  given.no_record = 1;
  given.again = 1;
  OptionReader reader;
  const ResumeOptions made = convert(reader, given);
  ASSERT_TRUE(reader.status());
  ASSERT_EQ(made.network_overrides.size(), 2U);
  EXPECT_EQ(made.network_overrides[1].interface_id, "eth1");
  EXPECT_EQ(made.network_overrides[1].host_device, "tap1");
  EXPECT_EQ(made.vsock_override, "/vsock");
  ASSERT_EQ(made.drive_overrides.size(), 2U);
  EXPECT_EQ(made.drive_overrides[0].drive_id, "_disk0");
  EXPECT_EQ(made.drive_overrides[0].path, "/a");
  EXPECT_EQ(made.drive_overrides[1].drive_id, "_disk1");
  EXPECT_EQ(made.drive_overrides[1].path, "/b");
  EXPECT_EQ(made.serial_override, "/serial");
  EXPECT_EQ(made.console_override, "/console");
  EXPECT_EQ(made.mode, ResumeMode::kFile);
  EXPECT_EQ(made.populate, Populate::kNone);
  EXPECT_EQ(made.huge_pages, HugePages::k2MiB);
  EXPECT_TRUE(made.clock_realtime);
  EXPECT_FALSE(made.record);
  EXPECT_FALSE(made.stay_paused);
  EXPECT_EQ(made.mmds, "/mmds.json");
  EXPECT_TRUE(made.no_record);
  EXPECT_TRUE(made.again);
}

TEST(CApiOptionsTest, OptionsOfALiveForkArriveInTheirPlaces) {
  auto source = only_sized<lamina_vmm>();
  source.api_socket = "source";
  auto clone = only_sized<lamina_vmm>();
  clone.api_socket = "clone";
  auto other = clone;
  other.api_socket = "other";
  const std::array<const lamina_vmm*, 2> clones{&clone, &other};
  auto pause = only_sized<lamina_pause_options>();
  pause.vmm = &source;
  pause.name = "one";
  pause.after = LAMINA_AFTER_RESUME;
  auto resume = only_sized<lamina_resume_options>();
  resume.mmds = "/mmds.json";
  auto given = only_sized<lamina_live_fork_options>();
  given.pause = &pause;
  given.resume = &resume;
  given.clones = clones.data();
  given.clone_count = clones.size();
  {
    OptionReader reader;
    const LiveForkOptions made = convert(reader, given);
    ASSERT_TRUE(reader.status()) << reader.status().error().message;
    EXPECT_EQ(made.pause.vmm.api_socket, "source");
    EXPECT_EQ(made.pause.name, "one");
    EXPECT_EQ(made.pause.after, AfterPause::kResume);
    EXPECT_EQ(made.resume.mmds, "/mmds.json");
    ASSERT_EQ(made.clones.size(), 2U);
    EXPECT_EQ(made.clones[1].api_socket, "other");
  }
  EXPECT_EQ(refusal_of(given, [](auto& o) { o.resume = nullptr; }), "");
  EXPECT_EQ(refusal_of(given, [](auto& o) { o.pause = nullptr; }), "pause is not set");
  EXPECT_NE(refusal_of(given, [](auto& o) { o.clones = nullptr; }), "");
  const std::array<const lamina_vmm*, 2> none{&clone, nullptr};
  EXPECT_EQ(refusal_of(given, [&](auto& o) { o.clones = none.data(); }), "vmm is not set");
  resume.name = "two";
  EXPECT_EQ(refusal_of(given, [](auto&) {}), "resume.vmm or resume.name is set");
  resume.name = nullptr;
  resume.struct_size = 1;
  EXPECT_NE(refusal_of(given, [](auto&) {}), "");
  resume.struct_size = sizeof resume;
  pause.struct_size = 1;
  EXPECT_NE(refusal_of(given, [](auto&) {}), "");
}

TEST(CApiOptionsTest, EachCloneGetsItsOwnDevices) {
  auto source = only_sized<lamina_vmm>();
  source.api_socket = "source";
  const std::array<const lamina_vmm*, 2> clones{&source, &source};
  auto pause = only_sized<lamina_pause_options>();
  pause.vmm = &source;
  pause.name = "one";
  const std::array<lamina_network_override, 1> networks{{{"eth0", "tap7"}}};
  const std::array<lamina_drive_override, 2> drives{{{"_disk0", "/a"}, {"_disk1", "/b"}}};
  auto own = only_sized<lamina_clone_devices>();
  own.network_overrides = networks.data();
  own.network_override_count = networks.size();
  own.vsock_override = "/vsock";
  own.drive_overrides = drives.data();
  own.drive_override_count = drives.size();
  own.serial_override = "/serial";
  own.console_override = "/console";
  const std::array<const lamina_clone_devices*, 2> devices{nullptr, &own};
  auto given = only_sized<lamina_live_fork_options>();
  given.pause = &pause;
  given.clones = clones.data();
  given.clone_count = clones.size();
  {
    OptionReader reader;
    EXPECT_TRUE(convert(reader, given).devices.empty());
    ASSERT_TRUE(reader.status()) << reader.status().error().message;
  }
  given.devices = devices.data();
  given.device_count = devices.size();
  {
    OptionReader reader;
    const LiveForkOptions made = convert(reader, given);
    ASSERT_TRUE(reader.status()) << reader.status().error().message;
    ASSERT_EQ(made.devices.size(), 2U);
    EXPECT_TRUE(made.devices[0].drive_overrides.empty());
    EXPECT_EQ(made.devices[0].vsock_override, "");
    ASSERT_EQ(made.devices[1].network_overrides.size(), 1U);
    EXPECT_EQ(made.devices[1].network_overrides[0].interface_id, "eth0");
    EXPECT_EQ(made.devices[1].network_overrides[0].host_device, "tap7");
    EXPECT_EQ(made.devices[1].vsock_override, "/vsock");
    ASSERT_EQ(made.devices[1].drive_overrides.size(), 2U);
    EXPECT_EQ(made.devices[1].drive_overrides[1].drive_id, "_disk1");
    EXPECT_EQ(made.devices[1].drive_overrides[1].path, "/b");
    EXPECT_EQ(made.devices[1].serial_override, "/serial");
    EXPECT_EQ(made.devices[1].console_override, "/console");
  }
  EXPECT_NE(refusal_of(given, [](auto& o) { o.devices = nullptr; }), "");
  own.drive_override_count = SIZE_MAX;
  EXPECT_NE(refusal_of(given, [](auto&) {}), "");
  own.drive_override_count = drives.size();
  own.struct_size = 1;
  EXPECT_NE(refusal_of(given, [](auto&) {}), "");
  // A program of the time before `devices` has other data there.
  given.struct_size = kFirstSize<lamina_live_fork_options>;
  const auto read = read_struct("lamina_live_fork_options", &given);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->devices, nullptr);
  EXPECT_EQ(read->device_count, 0U);
}

TEST(CApiOptionsTest, OptionsOfBucketsArriveInTheirPlaces) {
  const std::array<const char*, 3> command{"lamina", "remote", "fetch"};
  auto pull = only_sized<lamina_begin_pull_options>();
  pull.url = "file:///x";
  pull.name = "one";
  pull.as = "two";
  pull.key_file = "/key";
  pull.fetch_command = command.data();
  pull.fetch_argument_count = command.size();
  OptionReader reader;
  LazyPullOptions made = convert(reader, pull);
  ASSERT_TRUE(reader.status());
  EXPECT_EQ(made.pull.url, "file:///x");
  EXPECT_EQ(made.pull.name, "one");
  EXPECT_EQ(made.pull.as, "two");
  EXPECT_EQ(made.pull.key_file, "/key");
  EXPECT_EQ(made.fetch_command, (std::vector<std::string>{"lamina", "remote", "fetch"}));
  EXPECT_EQ(made.wait_limit, LazyPullOptions().wait_limit);
  pull.wait_limit_s = 7;
  EXPECT_EQ(convert(reader, pull).wait_limit.count(), 7);
  pull.wait_limit_s = LAMINA_NO_WAIT_LIMIT;
  EXPECT_EQ(convert(reader, pull).wait_limit.count(), 0);
  EXPECT_TRUE(reader.status());
  EXPECT_NE(refusal_of(pull, [](auto& o) { o.wait_limit_s = UINT64_MAX - 1; }), "");

  auto fetch = only_sized<lamina_fetch_options>();
  lamina_uuid arrival{};
  fetch.arrival = &arrival;
  EXPECT_NE(refusal_of(fetch, [](auto&) {}), "");  // nil
  arrival.bytes[3] = 7;
  EXPECT_FALSE(convert(reader, fetch).arrival.is_nil());
  EXPECT_NE(refusal_of(fetch, [](auto& o) { o.arrival = nullptr; }), "");

  auto push = only_sized<lamina_push_options>();
  push.url = "file:///x";
  push.snapshot = "one";
  push.dry_run = 1;
  EXPECT_TRUE(convert(reader, push).dry_run);

  auto rotate = only_sized<lamina_remote_key_rotate_options>();
  rotate.url = "file:///x";
  EXPECT_EQ(convert(reader, rotate).pattern, "*");
  rotate.pattern = "a*";
  rotate.old_key_file = "/old";
  rotate.key_command = "command";
  rotate.keep_older = 1;
  const RotateKeyOptions rotating = convert(reader, rotate);
  EXPECT_EQ(rotating.pattern, "a*");
  EXPECT_EQ(rotating.old_key_file, "/old");
  EXPECT_EQ(rotating.key_command, "command");
  EXPECT_TRUE(rotating.keep_older);
  EXPECT_FALSE(rotating.dry_run);

  auto destroy = only_sized<lamina_remote_key_destroy_options>();
  destroy.url = "file:///x";
  destroy.key_id = "file:0123456789abcdef";
  destroy.dry_run = 1;
  EXPECT_EQ(convert(reader, destroy).key_id, destroy.key_id);
  EXPECT_TRUE(convert(reader, destroy).dry_run);
  EXPECT_NE(refusal_of(destroy, [](auto& o) { o.key_id = nullptr; }), "");
}

// The numbers are compiled into programs; tools/check-abi does not see them.
static_assert(LAMINA_FAILED == 1 && LAMINA_USAGE == 2 && LAMINA_NOT_FOUND == 3 &&
              LAMINA_EXISTS == 4 && LAMINA_PERMISSION == 5 && LAMINA_UNSUPPORTED == 6 &&
              LAMINA_CORRUPT == 7 && LAMINA_BUSY == 8 && LAMINA_NO_SPACE == 9 &&
              LAMINA_INTERRUPTED == 10);
static_assert(LAMINA_KIND_FULL == 1 && LAMINA_KIND_DIFF == 2 && LAMINA_LAYOUT_COMPACT == 1 &&
              LAMINA_LAYOUT_ADOPTED == 2 && LAMINA_ZEROS_WRITTEN == 1 &&
              LAMINA_ZEROS_INHERIT == 2 && LAMINA_DEDUP_PARENT == 1 && LAMINA_HEADER_V1 == 1 &&
              LAMINA_HEADER_V3 == 2 && LAMINA_HUGE_PAGES_NONE == 1 &&
              LAMINA_HUGE_PAGES_TRANSPARENT == 2 && LAMINA_HUGE_PAGES_2M == 3);
static_assert(LAMINA_COMPACT_PLANNED == 1 && LAMINA_COMPACT_MERGED == 2 &&
              LAMINA_COMPACT_DROPPED == 3 && LAMINA_REFLINK_ALWAYS == 1 &&
              LAMINA_REFLINK_NEVER == 2 && LAMINA_CHECKSUMS_YES == 1 &&
              LAMINA_CHECKSUMS_UNKNOWN == 2 && LAMINA_PENDING_INGEST == 1 &&
              LAMINA_PENDING_OTHER == 2);
static_assert(LAMINA_AFTER_RESUME == 1 && LAMINA_AFTER_STAY == 2 &&
              LAMINA_RESUME_PAGE_FAULTS == 1 && LAMINA_RESUME_FILE == 2 &&
              LAMINA_POPULATE_NONE == 1 && LAMINA_POPULATE_WORKING_SET == 2 &&
              LAMINA_POPULATE_ALL == 3 && LAMINA_PAGE_SERVER_SILENT == 1 &&
              LAMINA_PAGE_SERVER_BUSY == 2 && LAMINA_PAGE_SERVER_SERVES == 3 &&
              LAMINA_PAGE_SERVER_CANNOT_SERVE == 4 && LAMINA_CODEC_LZ4 == 1 &&
              LAMINA_CODEC_NONE == 2);

}  // namespace
}  // namespace lamina::capi
