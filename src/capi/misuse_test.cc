// The C interface as a program should not use it: handles that are not open, null, results that are
// freed twice, objects that do not exist.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "capi/c_api_fixture.h"
#include "lamina.h"

namespace lamina::capi {
namespace {

TEST_F(CApiTest, AnErrorSaysWhatFailedAndWhatToDo) {
  const Failure missing =
      failure_of([&](auto** error) { return lamina_inspect(store_, "none", nullptr, error); });
  EXPECT_EQ(missing.code, LAMINA_NOT_FOUND);
  EXPECT_NE(missing.message.find("none"), std::string::npos) << missing.message;

  ingest("one", random_memory(6));
  const auto memory = random_memory(7);
  auto options = sized<lamina_ingest_options>();
  options.memory = memory.data();
  options.memory_bytes = memory.size();
  options.snapshot = "one";
  const Failure taken =
      failure_of([&](auto** error) { return lamina_ingest(store_, &options, nullptr, error); });
  EXPECT_EQ(taken.code, LAMINA_EXISTS);
  EXPECT_NE(taken.remedy.find("`replace`"), std::string::npos) << taken.remedy;

  const lamina_error* error = nullptr;
  const std::string nowhere = directory_.file("nowhere");
  lamina_store* store = store_;
  EXPECT_EQ(lamina_store_open(nowhere.c_str(), &store, &error), LAMINA_NOT_FOUND);
  EXPECT_EQ(store, nullptr);
  lamina_free(error);
  options.memory = nullptr;
  options.memory_bytes = 0;
  options.memory_file = nowhere.c_str();
  options.snapshot = "two";
  EXPECT_EQ(lamina_ingest(store_, &options, nullptr, &error), LAMINA_NOT_FOUND);
  EXPECT_EQ(error->error_number, ENOENT);
  lamina_free(error);
  EXPECT_EQ(lamina_store_open(nowhere.c_str(), &store, nullptr), LAMINA_NOT_FOUND);
}

TEST_F(CApiTest, AVmIsNeitherPausedNorResumedWithoutOne) {
  ingest("one", random_memory(8));
  auto vmm = sized<lamina_vmm>();
  const std::string socket = directory_.file("socket");
  auto pausing = sized<lamina_pause_options>();
  pausing.name = "two";
  EXPECT_EQ(lamina_pause(store_, &pausing, nullptr, nullptr), LAMINA_USAGE);
  pausing.vmm = &vmm;
  EXPECT_EQ(lamina_pause(store_, &pausing, nullptr, nullptr), LAMINA_USAGE);
  vmm.api_socket = socket.c_str();
  EXPECT_EQ(lamina_pause(store_, &pausing, nullptr, nullptr), LAMINA_NOT_FOUND);
  vmm.struct_size = 1;
  EXPECT_EQ(lamina_pause(store_, &pausing, nullptr, nullptr), LAMINA_USAGE);
  vmm.struct_size = sizeof vmm;

  const std::array<const lamina_vmm*, 1> clones{&vmm};
  auto forking = sized<lamina_live_fork_options>();
  forking.pause = &pausing;
  EXPECT_EQ(lamina_live_fork(store_, &forking, nullptr, nullptr), LAMINA_USAGE);
  pausing.after = LAMINA_AFTER_RESUME;
  EXPECT_EQ(lamina_live_fork(store_, &forking, nullptr, nullptr), LAMINA_USAGE);
  forking.clones = clones.data();
  forking.clone_count = clones.size();
  const Failure one_socket =
      failure_of([&](auto** error) { return lamina_live_fork(store_, &forking, nullptr, error); });
  EXPECT_EQ(one_socket.code, LAMINA_USAGE);
  EXPECT_NE(one_socket.message.find("given twice"), std::string::npos) << one_socket.message;

  auto resuming = sized<lamina_resume_options>();
  resuming.name = "one";
  EXPECT_EQ(lamina_resume(store_, &resuming, nullptr, nullptr), LAMINA_USAGE);
  resuming.vmm = &vmm;
  const Failure without_state =
      failure_of([&](auto** error) { return lamina_resume(store_, &resuming, nullptr, error); });
  EXPECT_EQ(without_state.code, LAMINA_FAILED);
  EXPECT_NE(without_state.message.find("state"), std::string::npos) << without_state.message;

  const lamina_recover_report* recovered = nullptr;
  ASSERT_EQ(lamina_recover(store_, nullptr, &recovered, nullptr), LAMINA_OK);
  EXPECT_EQ(recovered->completed, 0U);
  lamina_free(recovered);
  lamina_uuid id{};
  ASSERT_EQ(lamina_uuid_random(&id, nullptr), LAMINA_OK);
  auto recovering = sized<lamina_recover_options>();
  recovering.give_up = &id;
  recovering.give_up_count = 1;
  EXPECT_EQ(lamina_recover(store_, &recovering, nullptr, nullptr), LAMINA_NOT_FOUND);

  lamina_page_server_state state = 77;
  EXPECT_EQ(lamina_find_page_server(store_, &state, nullptr), LAMINA_OK);
  EXPECT_EQ(state, LAMINA_PAGE_SERVER_NONE);
  EXPECT_EQ(lamina_page_server_metrics(store_, nullptr, nullptr), LAMINA_NOT_FOUND);
}

TEST_F(CApiTest, AHandleThatIsNotOpenIsRefused) {
  ingest("one", random_memory(9));
  lamina_reader* reader = nullptr;
  ASSERT_EQ(lamina_reader_open(store_, "one", &reader, nullptr), LAMINA_OK);
  lamina_store* second = nullptr;
  ASSERT_EQ(lamina_store_open(store_path().c_str(), &second, nullptr), LAMINA_OK);
  EXPECT_NE(second, store_);
  ASSERT_EQ(lamina_store_close(second), LAMINA_OK);

  EXPECT_EQ(lamina_store_close(second), LAMINA_USAGE);
  EXPECT_EQ(lamina_store_close(nullptr), LAMINA_OK);
  std::array<std::byte, 8> buffer{};
  auto* as_store = reinterpret_cast<lamina_store*>(reader);
  auto* as_reader = reinterpret_cast<lamina_reader*>(store_);
  auto* anything = reinterpret_cast<lamina_store*>(buffer.data());
  for (lamina_store* wrong : {second, as_store, anything}) {
    const Failure refused =
        failure_of([&](auto** error) { return lamina_store_notes(wrong, nullptr, error); });
    EXPECT_EQ(refused.code, LAMINA_USAGE);
    EXPECT_NE(refused.message.find("is not open"), std::string::npos) << refused.message;
    EXPECT_EQ(lamina_inspect(wrong, "one", nullptr, nullptr), LAMINA_USAGE);
    EXPECT_EQ(lamina_store_close(wrong), LAMINA_USAGE);
  }
  EXPECT_EQ(lamina_reader_read(as_reader, 0, buffer.data(), 8, nullptr), LAMINA_USAGE);
  ASSERT_EQ(lamina_reader_close(reader), LAMINA_OK);
  EXPECT_EQ(lamina_reader_close(reader), LAMINA_USAGE);
  EXPECT_EQ(lamina_reader_read(reader, 0, buffer.data(), 8, nullptr), LAMINA_USAGE);

  auto options = sized<lamina_verify_options>();
  options.snapshot = "one";
  lamina_progress* progress = nullptr;
  ASSERT_EQ(lamina_progress_open(&progress, nullptr), LAMINA_OK);
  ASSERT_EQ(lamina_progress_close(progress), LAMINA_OK);
  options.progress = progress;
  EXPECT_EQ(lamina_verify(store_, &options, nullptr, nullptr), LAMINA_USAGE);
}

TEST_F(CApiTest, ResultsAreFreedOnce) {
  const lamina_lines* notes = nullptr;
  ASSERT_EQ(lamina_store_notes(store_, &notes, nullptr), LAMINA_OK);
  lamina_free(notes);
  lamina_free(notes);
  lamina_free(nullptr);
  int something = 0;
  lamina_free(&something);
  lamina_free(store_);
  EXPECT_EQ(lamina_store_notes(store_, nullptr, nullptr), LAMINA_OK);
}

/// Calls a function with all its pointers null.
template <typename... Arguments>
lamina_code with_nulls(lamina_code (*function)(Arguments...)) {
  return function(Arguments{}...);
}

TEST_F(CApiTest, NullIsRefusedEverywhere) {
  EXPECT_EQ(with_nulls(lamina_store_open), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_store_notes), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_ingest), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_merge), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_compact), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_materialize), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_verify), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_inspect), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_reader_open), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_reader_read), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_reader_memory_bytes), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_reader_info), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_list), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_freed_by_removing), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_repair), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_fork), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_remove), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_pause), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_resume), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_live_fork), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_recover), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_find_page_server), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_page_server_metrics), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_pack), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_unpack), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_push), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_pull), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_remote_list), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_remote_remove), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_prune), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_begin_pull), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_fetch_arriving), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_remote_key_list), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_remote_key_rotate), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_remote_key_destroy), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_uuid_random), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_uuid_parse), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_uuid_format), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_progress_open), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_progress_cancel), LAMINA_USAGE);
  EXPECT_EQ(with_nulls(lamina_progress_get), LAMINA_USAGE);
  // With a store.
  EXPECT_EQ(lamina_ingest(store_, nullptr, nullptr, nullptr), LAMINA_USAGE);
  EXPECT_EQ(lamina_inspect(store_, nullptr, nullptr, nullptr), LAMINA_USAGE);
  EXPECT_EQ(lamina_repair(store_, nullptr, nullptr, nullptr), LAMINA_USAGE);
  EXPECT_EQ(lamina_reader_open(store_, "one", nullptr, nullptr), LAMINA_USAGE);
  auto removing = sized<lamina_remove_options>();
  removing.snapshot_count = 3;
  EXPECT_EQ(lamina_remove(store_, &removing, nullptr, nullptr), LAMINA_USAGE);
  const std::array<const char*, 1> no_name{nullptr};
  removing.snapshots = no_name.data();
  removing.snapshot_count = 1;
  EXPECT_EQ(lamina_remove(store_, &removing, nullptr, nullptr), LAMINA_USAGE);
}

TEST_F(CApiTest, AHandleMayBeClosedWhileItIsUsed) {
  const auto memory = random_memory(11);
  ingest("one", memory);
  lamina_reader* reader = nullptr;
  ASSERT_EQ(lamina_reader_open(store_, "one", &reader, nullptr), LAMINA_OK);
  constexpr int kThreads = 3;
  std::atomic<int> has_read{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      std::vector<std::byte> bytes(memory.size());
      bool is_first = true;
      for (;;) {
        const lamina_code code = lamina_reader_read(reader, 0, bytes.data(), bytes.size(), nullptr);
        if (code == LAMINA_USAGE) return;
        EXPECT_EQ(code, LAMINA_OK);
        EXPECT_TRUE(bytes == memory);
        if (is_first) {
          ++has_read;
          has_read.notify_one();
          is_first = false;
        }
      }
    });
  }
  for (int seen = 0; seen < kThreads; seen = has_read) has_read.wait(seen);
  EXPECT_EQ(lamina_reader_close(reader), LAMINA_OK);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace lamina::capi
