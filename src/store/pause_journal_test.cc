#include "store/pause_journal.h"

#include <gtest/gtest.h>

#include <span>
#include <string>

namespace lamina::store {
namespace {

PauseJournal example() {
  PauseJournal journal;
  journal.belongs_to = {1, 2, 3, "host", "7a1f6e0e-2f0e-4d3c-9a0a-0123456789ab"};
  journal.pause_id = Uuid::random();
  journal.build_id = Uuid::random();
  journal.name = "a";
  journal.kind = MemoryFileKind::kDiff;
  journal.reason = "of what changed since the last pause";
  journal.parent_pause_id = Uuid::random();
  journal.parent = "a";
  journal.vm = "1-1";
  journal.api_socket = "/run/vm.sock";
  journal.after = AfterPause::kResume;
  journal.was_running = true;
  journal.created = "2024-12-01T00:00:00Z";
  journal.memory_bytes = 4096;
  return journal;
}

PauseJournal example_in_memory() {
  PauseJournal journal = example();
  journal.freeze_directory = {"/dev/shm/area/" + freeze_directory_name(journal.pause_id),
                              "7a1f6e0e-2f0e-4d3c-9a0a-0123456789ab", 26, 5,
                              1'700'000'000'123'456'789};
  return journal;
}

std::optional<PauseJournal> decoded_journal(const std::string& text) {
  return decode_pause_journal(std::as_bytes(std::span(text)));
}

TEST(PauseJournalTest, JournalsAreReadBack) {
  for (const PauseJournal& journal : {example(), example_in_memory()}) {
    const auto read = decoded_journal(encode_pause_journal(journal));
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, journal);
  }
}

TEST(PauseJournalTest, OnlyAFreezeDirectoryNeedsTheNewerVersion) {
  EXPECT_NE(encode_pause_journal(example()).find("\"pause\": 3,"), std::string::npos);
  EXPECT_NE(encode_pause_journal(example_in_memory()).find("\"pause\": 4,"), std::string::npos);
}

TEST(PauseJournalTest, TruncatedJournalIsRejected) {
  const std::string text = encode_pause_journal(example_in_memory());
  for (std::size_t length = 0; length + 2 < text.size(); ++length) {
    EXPECT_FALSE(decoded_journal(text.substr(0, length))) << length;
  }
}

TEST(PauseJournalTest, FreezeDirectoryMustBeOne) {
  PauseJournal journal = example_in_memory();
  for (const char* path : {"/home", "lamina-1", "/dev/shm/lamina-1"}) {
    journal.freeze_directory.path = path;
    EXPECT_FALSE(decoded_journal(encode_pause_journal(journal))) << path;
  }
}

TEST(PauseJournalTest, NewerVersionWithoutAFreezeDirectoryIsRejected) {
  std::string text = encode_pause_journal(example());
  text.replace(text.find("\"pause\": 3"), 10, "\"pause\": 4");
  EXPECT_FALSE(decoded_journal(text));
}

}  // namespace
}  // namespace lamina::store
