// The C interface as a program uses it.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "capi/c_api_fixture.h"
#include "lamina.h"

namespace lamina::capi {
namespace {

namespace fs = std::filesystem;

TEST_F(CApiTest, SnapshotsAreStoredReadMergedListedAndRemoved) {
  auto memory = random_memory(1);
  ingest("one", memory);
  std::fill_n(memory.begin() + 5 * kBytesOfBlock, kBytesOfBlock, std::byte{7});

  auto options = sized<lamina_ingest_options>();
  const std::string file = write_file("memory", memory);
  const std::string vmstate = write_file("vmstate", {std::byte{1}, std::byte{2}});
  options.memory_file = file.c_str();
  options.snapshot = "two";
  options.parent = "one";
  options.kind = LAMINA_KIND_FULL;
  options.vmstate_file = vmstate.c_str();
  const lamina_ingest_report* ingested = nullptr;
  ASSERT_EQ(lamina_ingest(store_, &options, &ingested, nullptr), LAMINA_OK);
  EXPECT_EQ(ingested->struct_size, sizeof *ingested);
  EXPECT_EQ(ingested->snapshot, path_of("two"));
  EXPECT_EQ(ingested->kind, LAMINA_KIND_FULL);
  EXPECT_EQ(ingested->layout, LAMINA_LAYOUT_COMPACT);
  EXPECT_EQ(ingested->generation, 1U);
  EXPECT_EQ(ingested->memory_bytes, memory.size());
  EXPECT_EQ(ingested->stored_blocks, 1U);
  const lamina_uuid pause_id = ingested->pause_id;
  lamina_free(ingested);
  expect_memory("two", memory);

  const lamina_snapshot_info* info = nullptr;
  ASSERT_EQ(lamina_inspect(store_, "two", &info, nullptr), LAMINA_OK);
  EXPECT_EQ(std::memcmp(&info->pause_id, &pause_id, sizeof pause_id), 0);
  EXPECT_EQ(info->vmstate_bytes, 2U);
  EXPECT_EQ(info->has_vmstate, 1U);
  ASSERT_EQ(info->layer_count, 2U);
  EXPECT_EQ(info->layers[0]->struct_size, sizeof(lamina_layer));
  EXPECT_EQ(info->layers[1]->live_blocks, 1U);
  EXPECT_EQ(info->layers[1]->has_checksums, LAMINA_CHECKSUMS_YES);
  EXPECT_EQ(info->layers[1]->layout, std::string("compact"));
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < info->extent_count; ++i) {
    EXPECT_EQ(info->extents[i].offset_bytes, end);
    end += info->extents[i].length_bytes;
  }
  EXPECT_EQ(end, memory.size());
  EXPECT_EQ(info->extents[info->extent_count - 1].layer, LAMINA_NO_LAYER);
  lamina_free(info);

  auto merging = sized<lamina_merge_options>();
  merging.snapshot = "two";
  const lamina_merge_report* merged = nullptr;
  ASSERT_EQ(lamina_merge(store_, &merging, &merged, nullptr), LAMINA_OK);
  EXPECT_EQ(merged->merged, 1U);
  EXPECT_EQ(merged->layers_before, 2U);
  EXPECT_EQ(merged->layers_after, 1U);
  EXPECT_EQ(std::memcmp(&merged->pause_id, &pause_id, sizeof pause_id), 0);
  lamina_free(merged);
  expect_memory("two", memory);

  auto verifying = sized<lamina_verify_options>();
  verifying.snapshot = "two";
  verifying.against = file.c_str();
  const lamina_verify_report* verified = nullptr;
  ASSERT_EQ(lamina_verify(store_, &verifying, &verified, nullptr), LAMINA_OK);
  EXPECT_EQ(verified->is_intact, 1U);
  EXPECT_EQ(verified->is_equal, 1U);
  EXPECT_EQ(verified->checked_blocks, kBlocksOfMemory / 2);
  lamina_free(verified);

  auto forking = sized<lamina_fork_options>();
  forking.snapshot = "two";
  forking.fork = "three";
  const lamina_fork_report* forked = nullptr;
  ASSERT_EQ(lamina_fork(store_, &forking, &forked, nullptr), LAMINA_OK);
  EXPECT_EQ(forked->linked_layers, 1U);
  lamina_free(forked);

  auto listing_options = sized<lamina_list_options>();
  listing_options.dead_bytes = 1;
  const lamina_listing* listing = nullptr;
  ASSERT_EQ(lamina_list(store_, &listing_options, &listing, nullptr), LAMINA_OK);
  ASSERT_EQ(listing->snapshot_count, 3U);
  EXPECT_EQ(listing->snapshots[0]->name, std::string("one"));
  EXPECT_EQ(listing->snapshots[1]->name, std::string("three"));
  EXPECT_EQ(listing->snapshots[0]->error, nullptr);
  EXPECT_EQ(listing->snapshots[0]->has_dead_bytes, 1U);
  EXPECT_EQ(listing->snapshots[2]->header, LAMINA_HEADER_NATIVE);
  EXPECT_EQ(listing->snapshots[2]->has_vmstate, 1U);
  EXPECT_GT(listing->snapshots[2]->file_count, 2U);
  EXPECT_GT(listing->snapshot_bytes, 0U);
  const std::array<std::size_t, 2> both{1, 2};
  std::uint64_t freed_one = 0;
  std::uint64_t freed_both = 0;
  EXPECT_EQ(lamina_freed_by_removing(listing, both.data(), 1, &freed_one, nullptr), LAMINA_OK);
  EXPECT_EQ(lamina_freed_by_removing(listing, both.data(), 2, &freed_both, nullptr), LAMINA_OK);
  EXPECT_GT(freed_both, freed_one);
  const std::size_t too_large = 3;
  EXPECT_EQ(lamina_freed_by_removing(listing, &too_large, 1, nullptr, nullptr), LAMINA_USAGE);
  lamina_free(listing);
  EXPECT_EQ(lamina_freed_by_removing(listing, both.data(), 2, nullptr, nullptr), LAMINA_USAGE);

  const std::array<const char*, 2> names{"two", "none"};
  auto removing = sized<lamina_remove_options>();
  removing.snapshots = names.data();
  removing.snapshot_count = names.size();
  const lamina_remove_report* removed = nullptr;
  ASSERT_EQ(lamina_remove(store_, &removing, &removed, nullptr), LAMINA_OK);
  ASSERT_EQ(removed->snapshot_count, 2U);
  EXPECT_EQ(removed->snapshots[0]->error, nullptr);
  ASSERT_NE(removed->snapshots[1]->error, nullptr);
  EXPECT_EQ(removed->snapshots[1]->error->code, LAMINA_NOT_FOUND);
  EXPECT_EQ(removed->snapshots[1]->error->struct_size, sizeof(lamina_error));
  lamina_free(removed);
  EXPECT_FALSE(fs::exists(path_of("two")));
  expect_memory("three", memory);
}

TEST_F(CApiTest, MemoryComesFromADescriptor) {
  const auto memory = random_memory(2);
  const int fd = ::memfd_create("memory", MFD_CLOEXEC);
  ASSERT_EQ(::write(fd, memory.data(), memory.size()), static_cast<ssize_t>(memory.size()));
  auto options = sized<lamina_ingest_options>();
  options.memory_fd = fd;
  options.has_memory_fd = 1;
  options.snapshot = "one";
  EXPECT_EQ(lamina_ingest(store_, &options, nullptr, nullptr), LAMINA_OK);
  ::close(fd);
  expect_memory("one", memory);
}

TEST_F(CApiTest, CompactRepairMaterializeAndPack) {
  const auto memory = random_memory(3);
  ingest("one", memory);

  auto compacting = sized<lamina_compact_options>();
  compacting.snapshot = "one";
  compacting.policy = "full:cap=8,hard=32";
  compacting.background = 1;
  const lamina_compact_report* compacted = nullptr;
  ASSERT_EQ(lamina_compact(store_, &compacting, &compacted, nullptr), LAMINA_OK);
  EXPECT_EQ(compacted->outcome, LAMINA_COMPACT_NOTHING);
  EXPECT_NE(std::string(compacted->policy).find("full"), std::string::npos);
  lamina_free(compacted);

  fs::remove(path_of("one") + "/memfile.header");
  const lamina_repair_report* repaired = nullptr;
  ASSERT_EQ(lamina_repair(store_, "one", &repaired, nullptr), LAMINA_OK);
  EXPECT_EQ(repaired->header_rebuilt, 1U);
  EXPECT_EQ(repaired->facts_rebuilt, 0U);
  lamina_free(repaired);

  const std::string out = directory_.file("out");
  auto materializing = sized<lamina_materialize_options>();
  materializing.snapshot = "one";
  materializing.out = out.c_str();
  const lamina_materialize_report* materialized = nullptr;
  ASSERT_EQ(lamina_materialize(store_, &materializing, &materialized, nullptr), LAMINA_OK);
  EXPECT_EQ(materialized->memory_bytes, memory.size());
  lamina_free(materialized);
  EXPECT_EQ(fs::file_size(out), memory.size());

  const std::string packed = directory_.file("packed");
  auto packing = sized<lamina_pack_options>();
  packing.snapshot = "one";
  packing.out = packed.c_str();
  packing.codec = LAMINA_CODEC_LZ4;
  const lamina_pack_report* pack = nullptr;
  const lamina_code code = lamina_pack(store_, &packing, &pack, nullptr);
  if (code == LAMINA_UNSUPPORTED) return;  // without LAMINA_REMOTE
  ASSERT_EQ(code, LAMINA_OK);
  EXPECT_EQ(pack->memory_bytes, memory.size());
  lamina_free(pack);
  auto unpacking = sized<lamina_unpack_options>();
  unpacking.file = packed.c_str();
  unpacking.snapshot = "two";
  EXPECT_EQ(lamina_unpack(store_, &unpacking, nullptr, nullptr), LAMINA_OK);
  expect_memory("two", memory);
}

TEST_F(CApiTest, ABucketIsPushedToListedPulledPrunedAndEmptied) {
  const auto memory = random_memory(4);
  ingest("one", memory);
  fs::create_directory(directory_.path() / "bucket");
  const std::string url = "file://" + directory_.file("bucket");

  auto pushing = sized<lamina_push_options>();
  pushing.url = url.c_str();
  pushing.snapshot = "one";
  const lamina_push_report* pushed = nullptr;
  const lamina_code code = lamina_push(store_, &pushing, &pushed, nullptr);
  if (code == LAMINA_UNSUPPORTED) return;  // without LAMINA_REMOTE
  ASSERT_EQ(code, LAMINA_OK);
  EXPECT_EQ(pushed->name, std::string("one"));
  EXPECT_EQ(pushed->is_conflict, 0U);
  lamina_free(pushed);

  auto listing = sized<lamina_remote_list_options>();
  listing.url = url.c_str();
  const lamina_remote_list_report* listed = nullptr;
  ASSERT_EQ(lamina_remote_list(&listing, &listed, nullptr), LAMINA_OK);
  ASSERT_EQ(listed->snapshot_count, 1U);
  EXPECT_EQ(listed->snapshots[0]->name, std::string("one"));
  EXPECT_EQ(listed->snapshots[0]->memory_bytes, memory.size());
  EXPECT_EQ(listed->snapshots[0]->error, nullptr);
  lamina_free(listed);

  auto pulling = sized<lamina_pull_options>();
  pulling.url = url.c_str();
  pulling.name = "one";
  pulling.as = "two";
  const lamina_pull_report* pulled = nullptr;
  ASSERT_EQ(lamina_pull(store_, &pulling, &pulled, nullptr), LAMINA_OK);
  EXPECT_EQ(pulled->snapshot, path_of("two"));
  lamina_free(pulled);
  expect_memory("two", memory);

  auto removing = sized<lamina_remote_remove_options>();
  removing.url = url.c_str();
  removing.name = "one";
  const lamina_remote_remove_report* removed = nullptr;
  ASSERT_EQ(lamina_remote_remove(&removing, &removed, nullptr), LAMINA_OK);
  EXPECT_EQ(removed->records, 1U);
  lamina_free(removed);

  auto pruning = sized<lamina_prune_options>();
  pruning.url = url.c_str();
  pruning.keep_last = 1;
  const lamina_prune_report* pruned = nullptr;
  ASSERT_EQ(lamina_prune(&pruning, &pruned, nullptr), LAMINA_OK);
  EXPECT_EQ(pruned->kept_snapshots, 0U);
  lamina_free(pruned);
}

TEST_F(CApiTest, TheRecordOfAPauseIsInInspectionAndListing) {
  ingest("one", random_memory(12));
  const lamina_snapshot_info* info = nullptr;
  ASSERT_EQ(lamina_inspect(store_, "one", &info, nullptr), LAMINA_OK);
  EXPECT_EQ(info->pause, nullptr);
  EXPECT_EQ(info->once, 0U);
  EXPECT_EQ(info->last_resume_count, 0U);
  lamina_free(info);

  const std::string path = path_of("one") + "/snapshot.json";
  std::string facts;
  std::getline(std::ifstream(path), facts, '\0');
  facts.replace(0, 1, R"({"once": true, "pause": {"kind": "full", "reason": "asked for",
                          "phases": {"create_ms": 2.5}},)");
  std::ofstream(path) << facts;
  ASSERT_EQ(lamina_inspect(store_, "one", &info, nullptr), LAMINA_OK);
  ASSERT_NE(info->pause, nullptr);
  EXPECT_EQ(info->pause->struct_size, sizeof(lamina_pause_record));
  EXPECT_EQ(info->pause->reason, std::string("asked for"));
  EXPECT_EQ(info->pause->is_diff, 0U);
  EXPECT_EQ(info->pause->has_phases, 1U);
  EXPECT_EQ(info->pause->create_ms, 2.5);
  EXPECT_EQ(info->once, 1U);
  lamina_free(info);

  const lamina_listing* listing = nullptr;
  ASSERT_EQ(lamina_list(store_, nullptr, &listing, nullptr), LAMINA_OK);
  ASSERT_NE(listing->snapshots[0]->pause, nullptr);
  EXPECT_EQ(listing->snapshots[0]->pause->reason, std::string("asked for"));
  lamina_free(listing);
}

TEST_F(CApiTest, KeysOfABucketAreListedRotatedAndDestroyed) {
  ingest("one", random_memory(13));
  fs::create_directory(directory_.path() / "bucket");
  const std::string url = "file://" + directory_.file("bucket");
  const std::string old_key = write_key("old", 'a');
  const std::string new_key = write_key("new", 'b');
  auto pushing = sized<lamina_push_options>();
  pushing.url = url.c_str();
  pushing.snapshot = "one";
  pushing.key_file = old_key.c_str();
  pushing.dry_run = 1;
  const lamina_push_report* pushed = nullptr;
  const lamina_code code = lamina_push(store_, &pushing, &pushed, nullptr);
  if (code == LAMINA_UNSUPPORTED) return;  // without LAMINA_REMOTE
  ASSERT_EQ(code, LAMINA_OK);
  EXPECT_GT(pushed->uploaded_objects, 0U);
  lamina_free(pushed);
  EXPECT_TRUE(fs::is_empty(directory_.path() / "bucket"));
  pushing.dry_run = 0;
  ASSERT_EQ(lamina_push(store_, &pushing, nullptr, nullptr), LAMINA_OK);

  auto listing = sized<lamina_remote_key_list_options>();
  listing.url = url.c_str();
  listing.key_file = old_key.c_str();
  const lamina_remote_key_list_report* listed = nullptr;
  ASSERT_EQ(lamina_remote_key_list(&listing, &listed, nullptr), LAMINA_OK);
  ASSERT_EQ(listed->key_count, 1U);
  EXPECT_EQ(listed->keys[0]->is_given, 1U);
  ASSERT_EQ(listed->keys[0]->state_count, 1U);
  EXPECT_EQ(listed->keys[0]->states[0]->name, std::string("one"));
  EXPECT_EQ(listed->keys[0]->states[0]->is_newest, 1U);
  const std::string old_id = listed->keys[0]->key_id;
  lamina_free(listed);

  auto rotating = sized<lamina_remote_key_rotate_options>();
  rotating.url = url.c_str();
  rotating.old_key_file = old_key.c_str();
  rotating.key_file = new_key.c_str();
  const lamina_remote_key_rotate_report* rotated = nullptr;
  ASSERT_EQ(lamina_remote_key_rotate(&rotating, &rotated, nullptr), LAMINA_OK);
  EXPECT_EQ(rotated->old_key_id, old_id);
  EXPECT_EQ(rotated->rotated_states, 1U);
  EXPECT_EQ(rotated->is_complete, 1U);
  EXPECT_EQ(rotated->problem_count, 0U);
  const std::string new_id = rotated->key_id;
  lamina_free(rotated);

  auto destroying = sized<lamina_remote_key_destroy_options>();
  destroying.url = url.c_str();
  destroying.key_id = old_id.c_str();
  EXPECT_EQ(lamina_remote_key_destroy(&destroying, nullptr, nullptr), LAMINA_NOT_FOUND);
  destroying.key_id = new_id.c_str();
  const lamina_remote_key_destroy_report* destroyed = nullptr;
  ASSERT_EQ(lamina_remote_key_destroy(&destroying, &destroyed, nullptr), LAMINA_OK);
  ASSERT_EQ(destroyed->lost_name_count, 1U);
  EXPECT_EQ(destroyed->lost_names[0], std::string("one"));
  lamina_free(destroyed);
}

TEST_F(CApiTest, APullThatWasBegunIsCompleted) {
  const auto memory = random_memory(14);
  ingest("one", memory);
  fs::create_directory(directory_.path() / "bucket");
  fs::create_directory(directory_.path() / "elsewhere");
  const std::string url = "file://" + directory_.file("bucket");
  const lamina_code code = push(url, "one");
  if (code == LAMINA_UNSUPPORTED) return;  // without LAMINA_REMOTE
  ASSERT_EQ(code, LAMINA_OK);

  lamina_store* elsewhere = nullptr;
  const std::string path = directory_.file("elsewhere");
  ASSERT_EQ(lamina_store_open(path.c_str(), &elsewhere, nullptr), LAMINA_OK);
  auto beginning = sized<lamina_begin_pull_options>();
  beginning.url = url.c_str();
  beginning.name = "one";
  const lamina_begin_pull_report* begun = nullptr;
  ASSERT_EQ(lamina_begin_pull(elsewhere, &beginning, &begun, nullptr), LAMINA_OK);
  EXPECT_EQ(begun->is_arriving, 1U);
  EXPECT_EQ(begun->is_already_there, 0U);
  EXPECT_EQ(begun->pull->struct_size, sizeof(lamina_pull_report));
  EXPECT_EQ(begun->pull->memory_bytes, memory.size());
  lamina_free(begun);
  EXPECT_EQ(lamina_inspect(elsewhere, "one", nullptr, nullptr), LAMINA_NOT_FOUND);
  ASSERT_EQ(lamina_begin_pull(elsewhere, &beginning, &begun, nullptr), LAMINA_OK);
  EXPECT_EQ(begun->is_already_there, 1U);
  lamina_free(begun);

  auto looking = sized<lamina_recover_options>();
  looking.dry_run = 1;
  const lamina_recover_report* recovered = nullptr;
  ASSERT_EQ(lamina_recover(elsewhere, &looking, &recovered, nullptr), LAMINA_OK);
  ASSERT_EQ(recovered->arrival_count, 1U);
  const lamina_arrival* arrival = recovered->arrivals[0];
  EXPECT_EQ(arrival->struct_size, sizeof(lamina_arrival));
  EXPECT_STREQ(arrival->name, "one");
  EXPECT_EQ(std::string(arrival->bucket).find("file://"), 0U);
  EXPECT_GT(arrival->frames, 0U);
  EXPECT_EQ(arrival->vms, 0U);
  EXPECT_EQ(arrival->has_fetcher, 0U);

  auto fetching = sized<lamina_fetch_options>();
  fetching.arrival = &arrival->id;
  const lamina_fetch_report* fetched = nullptr;
  ASSERT_EQ(lamina_fetch_arriving(elsewhere, &fetching, &fetched, nullptr), LAMINA_OK);
  EXPECT_STREQ(fetched->name, "one");
  EXPECT_NE(std::string(fetched->snapshot).find("/elsewhere/one"), std::string::npos);
  EXPECT_GT(fetched->fetched_bytes, 0U);
  lamina_free(fetched);
  EXPECT_EQ(lamina_fetch_arriving(elsewhere, &fetching, nullptr, nullptr), LAMINA_NOT_FOUND);
  lamina_free(recovered);

  // Nobody uses a second one.
  beginning.as = "two";
  const std::array<const char*, 1> removed{"one"};
  auto removing = sized<lamina_remove_options>();
  removing.snapshots = removed.data();
  removing.snapshot_count = 1;
  ASSERT_EQ(lamina_remove(elsewhere, &removing, nullptr, nullptr), LAMINA_OK);
  ASSERT_EQ(lamina_begin_pull(elsewhere, &beginning, &begun, nullptr), LAMINA_OK);
  EXPECT_EQ(begun->is_arriving, 1U);
  lamina_free(begun);
  ASSERT_EQ(lamina_recover(elsewhere, nullptr, &recovered, nullptr), LAMINA_OK);
  EXPECT_EQ(recovered->removed_arrivals, 1U);
  ASSERT_EQ(recovered->arrival_count, 1U);
  EXPECT_STREQ(recovered->arrivals[0]->name, "two");
  EXPECT_EQ(recovered->arrivals[0]->is_removed, 1U);
  lamina_free(recovered);

  auto pulling = sized<lamina_pull_options>();
  pulling.url = url.c_str();
  pulling.name = "one";
  ASSERT_EQ(lamina_pull(elsewhere, &pulling, nullptr, nullptr), LAMINA_OK);
  lamina_reader* reader = nullptr;
  ASSERT_EQ(lamina_reader_open(elsewhere, "one", &reader, nullptr), LAMINA_OK);
  std::vector<std::byte> bytes(memory.size());
  EXPECT_EQ(lamina_reader_read(reader, 0, bytes.data(), bytes.size(), nullptr), LAMINA_OK);
  EXPECT_TRUE(bytes == memory);
  EXPECT_EQ(lamina_reader_close(reader), LAMINA_OK);
  EXPECT_EQ(lamina_store_close(elsewhere), LAMINA_OK);
}

TEST_F(CApiTest, APullEvictsWhatIsAboveItsBound) {
  fs::create_directory(directory_.path() / "bucket");
  fs::create_directory(directory_.path() / "elsewhere");
  const std::string url = "file://" + directory_.file("bucket");
  for (const char* name : {"one", "two"}) {
    ingest(name, random_memory(40));
    const lamina_code code = push(url, name);
    if (code == LAMINA_UNSUPPORTED) return;  // without LAMINA_REMOTE
    ASSERT_EQ(code, LAMINA_OK);
  }
  lamina_store* elsewhere = nullptr;
  const std::string path = directory_.file("elsewhere");
  ASSERT_EQ(lamina_store_open(path.c_str(), &elsewhere, nullptr), LAMINA_OK);

  auto pulling = sized<lamina_pull_options>();
  pulling.url = url.c_str();
  pulling.name = "one";
  const lamina_pull_report* pulled = nullptr;
  ASSERT_EQ(lamina_pull(elsewhere, &pulling, &pulled, nullptr), LAMINA_OK);
  EXPECT_EQ(pulled->evicted_count, 0U);
  EXPECT_EQ(pulled->cache_bytes, 0U);
  lamina_free(pulled);

  pulling.name = "two";
  pulling.cache_bytes = 1;
  ASSERT_EQ(lamina_pull(elsewhere, &pulling, &pulled, nullptr), LAMINA_OK);
  ASSERT_EQ(pulled->evicted_count, 1U);
  EXPECT_STREQ(pulled->evicted[0], "one");
  EXPECT_GT(pulled->evicted_bytes, 0U);
  EXPECT_GT(pulled->cache_bytes, 0U);  // what was pulled stays
  lamina_free(pulled);
  EXPECT_FALSE(fs::exists(directory_.path() / "elsewhere" / "one"));
  EXPECT_EQ(lamina_store_close(elsewhere), LAMINA_OK);
}

TEST_F(CApiTest, ReadersNeedNoStore) {
  const auto memory = random_memory(5);
  ingest("one", memory);
  const std::string path = path_of("one");
  lamina_reader* reader = nullptr;
  ASSERT_EQ(lamina_reader_open(nullptr, path.c_str(), &reader, nullptr), LAMINA_OK);
  std::uint64_t size = 0;
  EXPECT_EQ(lamina_reader_memory_bytes(reader, &size, nullptr), LAMINA_OK);
  EXPECT_EQ(size, memory.size());
  const lamina_snapshot_info* info = nullptr;
  EXPECT_EQ(lamina_reader_info(reader, &info, nullptr), LAMINA_OK);
  EXPECT_EQ(info->layer_count, 1U);
  lamina_free(info);
  std::array<std::byte, 3> some{};
  EXPECT_EQ(lamina_reader_read(reader, 100, some.data(), some.size(), nullptr), LAMINA_OK);
  EXPECT_TRUE(std::equal(some.begin(), some.end(), memory.begin() + 100));
  const Failure past = failure_of(
      [&](auto** error) { return lamina_reader_read(reader, size, some.data(), 1, error); });
  EXPECT_EQ(past.code, LAMINA_USAGE);
  EXPECT_EQ(lamina_reader_close(reader), LAMINA_OK);

  auto listing = sized<lamina_list_options>();
  const std::string store = store_path();
  listing.path = store.c_str();
  EXPECT_EQ(lamina_list(nullptr, &listing, nullptr, nullptr), LAMINA_OK);
  // Both, or neither.
  EXPECT_EQ(lamina_list(store_, &listing, nullptr, nullptr), LAMINA_USAGE);
  EXPECT_EQ(lamina_list(nullptr, nullptr, nullptr, nullptr), LAMINA_USAGE);

  // A name is not taken as a path in the working directory.
  const Failure name =
      failure_of([&](auto** error) { return lamina_inspect(nullptr, "one", nullptr, error); });
  EXPECT_EQ(name.code, LAMINA_USAGE);
  EXPECT_NE(name.message.find("'one' is not a path"), std::string::npos) << name.message;
}

TEST_F(CApiTest, AnOperationIsWatchedAndCancelled) {
  ingest("one", random_memory(10));
  lamina_progress* progress = nullptr;
  ASSERT_EQ(lamina_progress_open(&progress, nullptr), LAMINA_OK);
  auto options = sized<lamina_verify_options>();
  options.snapshot = "one";
  options.progress = progress;
  EXPECT_EQ(lamina_verify(store_, &options, nullptr, nullptr), LAMINA_OK);
  auto state = sized<lamina_progress_state>();
  ASSERT_EQ(lamina_progress_get(progress, &state, nullptr), LAMINA_OK);
  EXPECT_GT(state.phases, 0U);
  EXPECT_GT(state.total_bytes, 0U);
  EXPECT_EQ(state.done_bytes, state.total_bytes);
  EXPECT_NE(state.phase[0], '\0');
  EXPECT_EQ(state.is_cancelled, 0U);

  EXPECT_EQ(lamina_progress_cancel(progress, nullptr), LAMINA_OK);
  EXPECT_EQ(lamina_verify(store_, &options, nullptr, nullptr), LAMINA_INTERRUPTED);
  // A program with a smaller struct, and one with a larger one.
  state = {};
  state.struct_size = offsetof(lamina_progress_state, done_bytes);
  ASSERT_EQ(lamina_progress_get(progress, &state, nullptr), LAMINA_OK);
  EXPECT_EQ(state.struct_size, offsetof(lamina_progress_state, done_bytes));
  EXPECT_GT(state.phases, 0U);
  EXPECT_EQ(state.total_bytes, 0U);
  EXPECT_EQ(state.is_cancelled, 0U);
  struct {
    lamina_progress_state state;
    std::uint64_t added;
  } newer{};
  newer.state.struct_size = sizeof newer;
  ASSERT_EQ(lamina_progress_get(progress, &newer.state, nullptr), LAMINA_OK);
  EXPECT_EQ(newer.state.struct_size, sizeof newer.state);
  EXPECT_EQ(newer.state.is_cancelled, 1U);
  state.struct_size = 0;
  EXPECT_EQ(lamina_progress_get(progress, &state, nullptr), LAMINA_USAGE);
  EXPECT_EQ(lamina_progress_close(progress), LAMINA_OK);
  EXPECT_EQ(lamina_progress_cancel(progress, nullptr), LAMINA_USAGE);
}

TEST(CApiValuesTest, UuidsAreMadeReadAndWritten) {
  lamina_uuid id{};
  ASSERT_EQ(lamina_uuid_random(&id, nullptr), LAMINA_OK);
  std::array<char, LAMINA_UUID_TEXT_SIZE> text{};
  ASSERT_EQ(lamina_uuid_format(&id, text.data(), nullptr), LAMINA_OK);
  EXPECT_EQ(std::strlen(text.data()), 36U);
  lamina_uuid parsed{};
  ASSERT_EQ(lamina_uuid_parse(text.data(), &parsed, nullptr), LAMINA_OK);
  EXPECT_EQ(std::memcmp(&id, &parsed, sizeof id), 0);
  EXPECT_EQ(lamina_uuid_parse("not one", &parsed, nullptr), LAMINA_USAGE);
  EXPECT_EQ(parsed.bytes[0], 0);
}

TEST(CApiValuesTest, CodesHaveWords) {
  EXPECT_STREQ(lamina_code_name(LAMINA_OK), "ok");
  EXPECT_STREQ(lamina_code_name(LAMINA_NOT_FOUND), "not_found");
  EXPECT_STREQ(lamina_code_name(LAMINA_INTERRUPTED), "interrupted");
  EXPECT_STREQ(lamina_code_name(-1), "unknown");
  EXPECT_STREQ(lamina_code_name(11), "unknown");
}

TEST(CApiValuesTest, PoliciesHaveALimit) {
  std::uint32_t layers = 0;
  EXPECT_EQ(lamina_hard_layer_limit(nullptr, &layers, nullptr), LAMINA_OK);
  EXPECT_EQ(layers, 32U);
  EXPECT_EQ(lamina_hard_layer_limit("nonsense", &layers, nullptr), LAMINA_USAGE);
  EXPECT_EQ(layers, 0U);
}

}  // namespace
}  // namespace lamina::capi
