// What every object store does: each test runs over a directory, and over the server that
// $LAMINA_TEST_OBJECT_STORE names.
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "object_store/blocking_store.h"
#include "object_store/digest.h"
#include "object_store/object_store.h"
#include "object_store/probe.h"
#include "object_store/stores.h"
#include "object_store/upload_writer.h"

namespace lamina::object_store {
namespace {

using Bytes = std::vector<std::byte>;

Bytes random_bytes(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  std::mt19937_64 random(seed);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

class ObjectStoreTest : public testing::TestWithParam<std::string> {
 protected:
  [[nodiscard]] ObjectStore& store() { return under_test_.store(); }
  [[nodiscard]] BlockingStore& blocking() { return blocking_; }

  void put(const std::string& key, const Bytes& bytes) {
    const Answer answer = blocking_.put(key, bytes);
    ASSERT_TRUE(answer.ok()) << answer.error.message;
  }

  void expect_contents(const std::string& key, const Bytes& wanted) {
    const Answer got = blocking_.get(key, wanted.size() + 1);
    ASSERT_TRUE(got.ok()) << got.error.message;
    EXPECT_EQ(got.size_bytes, wanted.size());
    EXPECT_TRUE(got.bytes == wanted) << key;
  }

  std::vector<std::string> keys_below(const std::string& prefix) {
    std::vector<std::string> keys;
    const auto entries = blocking_.list_all(prefix);
    EXPECT_TRUE(entries) << entries.error().message;
    for (const Entry& entry : entries.value_or(std::vector<Entry>())) keys.push_back(entry.key);
    return keys;
  }

  tests::StoreUnderTest under_test_{GetParam()};
  BlockingStore blocking_{under_test_.store()};
};

/// A put that has been started, and its answer.
Request put_request(const std::string& key, std::span<const std::byte> body,
                    Condition condition = Condition::kNone) {
  Request request;
  request.operation = Operation::kPut;
  request.key = key;
  request.body = body;
  request.condition = condition;
  return request;
}

TEST_P(ObjectStoreTest, ReadsWhatWasWritten) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096},
                                 std::size_t{100'001}, std::size_t{5} << 20}) {
    const Bytes bytes = random_bytes(size, 1);
    const std::string key = "dir/size-" + std::to_string(size);
    put(key, bytes);
    expect_contents(key, bytes);
  }
}

TEST_P(ObjectStoreTest, AnUnconditionalPutReplaces) {
  put("a/b", random_bytes(1000, 1));
  put("a/b", random_bytes(500, 2));
  expect_contents("a/b", random_bytes(500, 2));
}

TEST_P(ObjectStoreTest, AConditionalPutKeepsWhatExists) {
  const Bytes first = random_bytes(1000, 1);
  EXPECT_TRUE(blocking().put("a/b", first, Condition::kIfAbsent).ok());
  const Answer second = blocking().put("a/b", random_bytes(500, 2), Condition::kIfAbsent);
  EXPECT_EQ(second.outcome, Outcome::kExists) << second.error.message;
  EXPECT_EQ(second.error.kind, ErrorKind::kExists);
  EXPECT_FALSE(second.may_have_happened);
  expect_contents("a/b", first);
  EXPECT_TRUE(blocking().remove("a/b").ok());
  EXPECT_TRUE(blocking().put("a/b", random_bytes(500, 2), Condition::kIfAbsent).ok());
}

TEST_P(ObjectStoreTest, OfManyConditionalPutsOneSucceeds) {
  constexpr std::size_t kWriters = 16;
  for (int round = 0; round < 4; ++round) {
    const std::string key = "race/" + std::to_string(round);
    std::vector<Bytes> bodies;
    std::vector<std::optional<Answer>> answers(kWriters);
    for (std::size_t i = 0; i < kWriters; ++i) {
      bodies.push_back(random_bytes(20'000, static_cast<unsigned>(i)));
    }
    for (std::size_t i = 0; i < kWriters; ++i) {
      store().start(put_request(key, bodies[i], Condition::kIfAbsent),
                    [&answers, i](Answer answer) { answers[i] = std::move(answer); });
    }
    ASSERT_TRUE(blocking().wait_until([&] { return store().pending() == 0; }));
    std::size_t winners = 0;
    for (std::size_t i = 0; i < kWriters; ++i) {
      if (answers[i]->ok()) {
        ++winners;
        expect_contents(key, bodies[i]);
      } else {
        EXPECT_EQ(answers[i]->outcome, Outcome::kExists) << answers[i]->error.message;
      }
    }
    EXPECT_EQ(winners, 1U);
  }
}

TEST_P(ObjectStoreTest, WhatIsAbsentIsSaid) {
  put("a/b", random_bytes(10, 1));
  for (const char* key : {"x", "a/x", "x/y/z", "a"}) {
    const Answer got = blocking().get(key);
    EXPECT_EQ(got.outcome, Outcome::kAbsent) << got.error.message;
    EXPECT_EQ(got.error.kind, ErrorKind::kNotFound);
    EXPECT_EQ(blocking().get_range(key, {.offset = 0, .length = 1}).outcome, Outcome::kAbsent);
    const Answer head = blocking().head(key);
    EXPECT_EQ(head.outcome, Outcome::kAbsent) << head.error.message;
  }
}

TEST_P(ObjectStoreTest, RemovingTwiceIsDone) {
  put("a/b/c", random_bytes(10, 1));
  EXPECT_TRUE(blocking().remove("a/b/c").ok());
  EXPECT_EQ(blocking().get("a/b/c").outcome, Outcome::kAbsent);
  EXPECT_EQ(blocking().head("a/b/c").outcome, Outcome::kAbsent);
  const Answer again = blocking().remove("a/b/c");
  EXPECT_TRUE(again.ok()) << again.error.message;
  EXPECT_TRUE(blocking().remove("never/was").ok());
}

TEST_P(ObjectStoreTest, RangesAreExact) {
  const Bytes bytes = random_bytes(100'000, 1);
  put("a", bytes);
  for (const ByteRange& range : std::vector<ByteRange>{{.offset = 0, .length = 1},
                                                       {.offset = 1, .length = 4096},
                                                       {.offset = 99'999, .length = 1},
                                                       {.offset = 65'535, .length = 2},
                                                       {.offset = 0, .length = 100'000}}) {
    const Answer got = blocking().get_range("a", range);
    ASSERT_TRUE(got.ok()) << got.error.message;
    EXPECT_TRUE(
        std::ranges::equal(got.bytes, std::span(bytes).subspan(range.offset, range.length)));
  }
}

TEST_P(ObjectStoreTest, ARangePastTheEndIsCorrupt) {
  put("a", random_bytes(1000, 1));
  put("empty", {});
  for (const ByteRange& range : std::vector<ByteRange>{{.offset = 1000, .length = 1},
                                                       {.offset = 999, .length = 2},
                                                       {.offset = 5000, .length = 10}}) {
    const Answer got = blocking().get_range("a", range);
    EXPECT_EQ(got.outcome, Outcome::kCorrupt) << range.offset << ": " << got.error.message;
  }
  EXPECT_EQ(blocking().get_range("empty", {.offset = 0, .length = 1}).outcome, Outcome::kCorrupt);
}

TEST_P(ObjectStoreTest, ABufferReceivesTheBytes) {
  const Bytes bytes = random_bytes(10'000, 1);
  put("a", bytes);
  Bytes buffer(10'000);
  Request whole;
  whole.key = "a";
  whole.buffer = buffer;
  const Answer got = blocking().run(whole);
  ASSERT_TRUE(got.ok()) << got.error.message;
  EXPECT_EQ(got.size_bytes, 10'000U);
  EXPECT_TRUE(got.bytes.empty());
  EXPECT_TRUE(buffer == bytes);
  Request range;
  range.key = "a";
  range.buffer = buffer;
  range.range = ByteRange{.offset = 5000, .length = 100};
  ASSERT_TRUE(blocking().run(range).ok());
  EXPECT_TRUE(
      std::ranges::equal(std::span(buffer).first(100), std::span(bytes).subspan(5000, 100)));
}

TEST_P(ObjectStoreTest, MoreBytesThanPermittedAreCorrupt) {
  put("a", random_bytes(1000, 1));
  EXPECT_EQ(blocking().get("a", 999).outcome, Outcome::kCorrupt);
  EXPECT_TRUE(blocking().get("a", 1000).ok());
  Bytes buffer(999);
  Request request;
  request.key = "a";
  request.buffer = buffer;
  EXPECT_EQ(blocking().run(request).outcome, Outcome::kCorrupt);
}

TEST_P(ObjectStoreTest, BytesOfAnotherDigestAreCorrupt) {
  const Bytes bytes = random_bytes(1000, 1);
  put("a", bytes);
  Request request;
  request.key = "a";
  request.expected_digest = sha256_of(bytes);
  EXPECT_TRUE(blocking().run(request).ok());
  request.expected_digest = sha256_of(random_bytes(1000, 2));
  EXPECT_EQ(blocking().run(request).outcome, Outcome::kCorrupt);
}

TEST_P(ObjectStoreTest, BytesOfAnObjectThatWasReplacedAreCorrupt) {
  put("a", random_bytes(1000, 1));
  const Answer head = blocking().head("a");
  ASSERT_TRUE(head.ok()) << head.error.message;
  EXPECT_FALSE(head.tag.empty());
  Request request;
  request.key = "a";
  request.range = ByteRange{.offset = 10, .length = 20};
  request.expected_tag = head.tag;
  const Answer same = blocking().run(request);
  EXPECT_TRUE(same.ok()) << same.error.message;
  EXPECT_EQ(same.tag, head.tag);
  put("a", random_bytes(1000, 2));
  EXPECT_EQ(blocking().run(request).outcome, Outcome::kCorrupt);
}

TEST_P(ObjectStoreTest, BytesThatDoNotMatchTheirMd5AreNotStored) {
  const Bytes bytes = random_bytes(1000, 1);
  Request request = put_request("a", bytes);
  request.md5 = md5_of(random_bytes(1000, 2)).value();
  const Answer answer = blocking().run(request);
  EXPECT_EQ(answer.outcome, Outcome::kCorrupt) << answer.error.message;
  EXPECT_EQ(blocking().get("a").outcome, Outcome::kAbsent);
  request.md5 = md5_of(bytes).value();
  EXPECT_TRUE(blocking().run(request).ok());
}

TEST_P(ObjectStoreTest, HeadTellsSizeAndTime) {
  put("a", random_bytes(12'345, 1));
  const Answer head = blocking().head("a");
  ASSERT_TRUE(head.ok()) << head.error.message;
  EXPECT_EQ(head.size_bytes, 12'345U);
  ASSERT_TRUE(head.server_time);
  const auto age = *head.server_time - head.modified;
  EXPECT_GE(age, std::chrono::seconds(-2));
  EXPECT_LE(age, std::chrono::hours(1));
}

TEST_P(ObjectStoreTest, EveryAnswerTellsTheStoresTime) {
  EXPECT_TRUE(blocking().put("a", random_bytes(1, 1)).server_time);
  EXPECT_TRUE(blocking().get("a").server_time);
  EXPECT_TRUE(blocking().get("x").server_time);
  EXPECT_TRUE(blocking().list("").server_time);
  EXPECT_TRUE(blocking().remove("a").server_time);
}

TEST_P(ObjectStoreTest, ListsPageByPageInTheOrderOfBytes) {
  std::vector<std::string> wanted = {"a",    "b/x", "b0", "c/d/e1",  "c/d/e2",
                                     "c/da", "d/x", "e",  "f/g/h/i", "zz/last"};
  for (const std::string& key : wanted) put(key, random_bytes(3, 1));
  std::ranges::sort(wanted);
  EXPECT_EQ(keys_below(""), wanted);
  for (const std::size_t page_size : {std::size_t{1}, std::size_t{3}, wanted.size()}) {
    std::vector<std::string> found;
    bool has_more = true;
    while (has_more) {
      const Answer page = blocking().list("", found.empty() ? "" : found.back(), page_size);
      ASSERT_TRUE(page.ok()) << page.error.message;
      ASSERT_LE(page.entries.size(), page_size);
      for (const Entry& entry : page.entries) {
        found.push_back(entry.key);
        EXPECT_EQ(entry.size_bytes, 3U);
      }
      has_more = page.has_more;
      ASSERT_LE(found.size(), wanted.size());
    }
    EXPECT_EQ(found, wanted) << page_size;
  }
}

TEST_P(ObjectStoreTest, AListInAnotherOrderIsNeverReturned) {
  // SeaweedFS has "b/x" before "b-c".
  std::vector<std::string> wanted = {"b-c", "b.c", "b/x", "b0", "c/d-e", "c/d/e"};
  for (const std::string& key : wanted) put(key, random_bytes(3, 1));
  const Answer page = blocking().list("");
  if (!page.ok()) {
    EXPECT_FALSE(under_test_.is_directory());
    EXPECT_EQ(page.outcome, Outcome::kCorrupt) << page.error.message;
    for (const std::string& key : wanted) EXPECT_TRUE(blocking().remove(key).ok());
    return;
  }
  std::vector<std::string> found;
  for (const Entry& entry : page.entries) found.push_back(entry.key);
  EXPECT_EQ(found, wanted);
}

TEST_P(ObjectStoreTest, ListsByPrefix) {
  for (const char* key : {"a/b/1", "a/b/2", "a/bc", "a/c", "ab"}) put(key, random_bytes(1, 1));
  EXPECT_EQ(keys_below("a/b/"), (std::vector<std::string>{"a/b/1", "a/b/2"}));
  EXPECT_EQ(keys_below("a/b"), (std::vector<std::string>{"a/b/1", "a/b/2", "a/bc"}));
  EXPECT_EQ(keys_below("x"), std::vector<std::string>());
  EXPECT_EQ(keys_below("a/b/1/"), std::vector<std::string>());
  const Answer after = blocking().list("a/", "a/b/1");
  ASSERT_TRUE(after.ok());
  ASSERT_EQ(after.entries.size(), 3U);
  EXPECT_EQ(after.entries.front().key, "a/b/2");
  // A key that does not exist, before and after all.
  EXPECT_EQ(blocking().list("a/", "a/b/0").entries.size(), 4U);
  EXPECT_EQ(blocking().list("a/", "b").entries.size(), 0U);
}

TEST_P(ObjectStoreTest, ARemovedObjectIsInNoLaterList) {
  for (int i = 0; i < 20; ++i) {
    const std::string key = "x/" + std::to_string(i);
    put(key, random_bytes(1, 1));
    EXPECT_EQ(keys_below("x/"), std::vector<std::string>{key});
    EXPECT_TRUE(blocking().remove(key).ok());
    EXPECT_EQ(keys_below("x/"), std::vector<std::string>());
  }
}

TEST_P(ObjectStoreTest, KeysHaveAnyCharacters) {
  const std::vector<std::string> keys = {
      "we ird/a+b", "p%20q",       "=@:,~", "&<>\"'",         "\u00fcml\u00e4ut/\u4e2d\u6587",
      "semi;colon", "quest?ion#x", "!$()*", "[brackets]{}|^`"};
  std::vector<std::string> wanted = keys;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    put(keys[i], random_bytes(100, static_cast<unsigned>(i)));
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    expect_contents(keys[i], random_bytes(100, static_cast<unsigned>(i)));
    EXPECT_EQ(keys_below(keys[i]), std::vector<std::string>{keys[i]});
  }
  std::ranges::sort(wanted);
  EXPECT_EQ(keys_below(""), wanted);
  for (const std::string& key : keys) EXPECT_TRUE(blocking().remove(key).ok()) << key;
  EXPECT_EQ(keys_below(""), std::vector<std::string>());
}

TEST_P(ObjectStoreTest, HostileKeysAreRefused) {
  for (const std::string& key : {std::string(), std::string("/etc/x"), std::string("../x"),
                                 std::string("a/../../x"), std::string("a//b"), std::string("a/"),
                                 std::string("."), std::string("a\nb"), std::string("a\0b", 3)}) {
    for (const Operation operation : {Operation::kGet, Operation::kPut, Operation::kHead,
                                      Operation::kRemove, Operation::kBeginUpload}) {
      Request request;
      request.operation = operation;
      request.key = key;
      const Answer answer = blocking().run(request);
      EXPECT_EQ(answer.outcome, Outcome::kRefused);
      EXPECT_EQ(answer.error.kind, ErrorKind::kUsage);
    }
  }
  EXPECT_EQ(blocking().list("../").outcome, Outcome::kRefused);
}

TEST_P(ObjectStoreTest, ObjectsOfAnySizeAreUploaded) {
  unsigned seed = 0;
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1000}, kMaxSinglePutBytes,
                                   kMaxSinglePutBytes + 1, 3 * kPartBytes, 3 * kPartBytes + 5}) {
    const Bytes bytes = random_bytes(size, ++seed);
    const std::string key = "up/" + std::to_string(size);
    UploadWriter writer(store(), key, {.max_parallel = 2});
    for (std::size_t at = 0; at < bytes.size(); at += 1'000'000) {
      const std::size_t length = std::min<std::size_t>(1'000'000, bytes.size() - at);
      const Status written = writer.write(std::span(bytes).subspan(at, length));
      ASSERT_TRUE(written) << written.error().message;
    }
    const auto finished = writer.finish();
    ASSERT_TRUE(finished) << finished.error().message;
    EXPECT_EQ(*finished, size);
    EXPECT_EQ(blocking().head(key).size_bytes, size);
    expect_contents(key, bytes);
  }
}

TEST_P(ObjectStoreTest, AnAbandonedUploadLeavesNoObject) {
  {
    UploadWriter writer(store(), "up/x", {.max_parallel = 2});
    ASSERT_TRUE(writer.write(random_bytes(kMaxSinglePutBytes + kPartBytes + 5, 1)));
  }
  EXPECT_EQ(keys_below(""), std::vector<std::string>());
  EXPECT_EQ(blocking().get("up/x").outcome, Outcome::kAbsent);
  EXPECT_EQ(store().pending(), 0U);
}

TEST_P(ObjectStoreTest, UploadsThatWereBegunAreListedUntilTheyAreAborted) {
  Request list;
  list.operation = Operation::kListUploads;
  list.key = "up/";
  const auto ids = [&]() -> std::vector<std::string> {
    const Answer answer = blocking().run(list);
    EXPECT_TRUE(answer.ok()) << answer.error.message;
    std::vector<std::string> found;
    for (const PendingUpload& upload : answer.uploads) {
      EXPECT_EQ(upload.key, "up/x");
      found.push_back(upload.upload_id);
    }
    return found;
  };
  EXPECT_EQ(ids(), std::vector<std::string>());
  Request begin;
  begin.operation = Operation::kBeginUpload;
  begin.key = "up/x";
  const Answer begun = blocking().run(begin);
  ASSERT_TRUE(begun.ok()) << begun.error.message;
  // A directory has no list: it removes what writers have left by itself.
  const std::vector<std::string> found = ids();
  if (GetParam() == "directory") {
    EXPECT_EQ(found, std::vector<std::string>());
  } else {
    EXPECT_EQ(found, std::vector<std::string>{begun.upload_id});
  }
  list.key = "other/";
  EXPECT_EQ(ids(), std::vector<std::string>());
  list.key = "up/";
  Request abort;
  abort.operation = Operation::kAbortUpload;
  abort.key = "up/x";
  abort.upload_id = begun.upload_id;
  EXPECT_TRUE(blocking().run(abort).ok());
  EXPECT_EQ(ids(), std::vector<std::string>());
}

TEST_P(ObjectStoreTest, ADamagedPartIsRefused) {
  Request begin;
  begin.operation = Operation::kBeginUpload;
  begin.key = "up/x";
  const Answer begun = blocking().run(begin);
  ASSERT_TRUE(begun.ok()) << begun.error.message;
  const Bytes bytes = random_bytes(100, 1);
  Request part;
  part.operation = Operation::kUploadPart;
  part.key = "up/x";
  part.upload_id = begun.upload_id;
  part.part_number = 1;
  part.body = bytes;
  part.md5 = md5_of(random_bytes(100, 2)).value();
  const Answer answer = blocking().run(part);
  EXPECT_EQ(answer.outcome, Outcome::kCorrupt) << answer.error.message;
  Request abort;
  abort.operation = Operation::kAbortUpload;
  abort.key = "up/x";
  abort.upload_id = begun.upload_id;
  EXPECT_TRUE(blocking().run(abort).ok());
  part.md5.reset();
  const Answer late = blocking().run(part);
  EXPECT_EQ(late.outcome, Outcome::kRefused) << late.error.message;
}

TEST_P(ObjectStoreTest, ACompletionCannotBeTakenForAFailureWhenItIsRepeated) {
  Request request;
  request.operation = Operation::kBeginUpload;
  request.key = "up/x";
  const Answer begun = blocking().run(request);
  ASSERT_TRUE(begun.ok()) << begun.error.message;
  const Bytes bytes = random_bytes(100, 1);
  request.upload_id = begun.upload_id;
  request.operation = Operation::kUploadPart;
  request.part_number = 1;
  request.body = bytes;
  const Answer part = blocking().run(request);
  ASSERT_TRUE(part.ok()) << part.error.message;
  request.operation = Operation::kCompleteUpload;
  request.parts = {{.number = 1, .tag = part.tag}};
  const Answer first = blocking().run(request);
  ASSERT_TRUE(first.ok()) << first.error.message;
  expect_contents("up/x", bytes);
  const Answer second = blocking().run(request);
  EXPECT_NE(second.outcome, Outcome::kAbsent);
  EXPECT_TRUE(second.ok() || second.may_have_happened) << second.error.message;
  expect_contents("up/x", bytes);
}

TEST_P(ObjectStoreTest, ManyRequestsRunAtATime) {
  std::map<std::string, Bytes> objects;
  for (unsigned i = 0; i < 64; ++i) {
    objects.emplace("many/" + std::to_string(i), random_bytes(10'000 + i, i));
  }
  std::size_t written = 0;
  for (const auto& [key, bytes] : objects) {
    store().start(put_request(key, bytes), [&](const Answer& answer) {
      if (answer.ok()) ++written;
    });
  }
  EXPECT_EQ(store().pending(), 64U);
  ASSERT_TRUE(blocking().wait_until([&] { return store().pending() == 0; }));
  EXPECT_EQ(written, 64U);
  std::size_t right = 0;
  for (const auto& [key, bytes] : objects) {
    Request request;
    request.key = key;
    request.is_urgent = bytes.size() % 2 == 0;
    store().start(request, [&, wanted = &bytes](const Answer& answer) {
      if (answer.ok() && answer.bytes == *wanted) ++right;
    });
  }
  ASSERT_TRUE(blocking().wait_until([&] { return store().pending() == 0; }));
  EXPECT_EQ(right, 64U);
}

TEST_P(ObjectStoreTest, ACancelledRequestDoesNotComplete) {
  put("a", random_bytes(1'000'000, 1));
  int completions = 0;
  std::vector<ObjectStore::RequestId> ids;
  Bytes buffer(1'000'000);
  for (int i = 0; i < 30; ++i) {
    Request request;
    request.key = "a";
    request.buffer = buffer;
    ids.push_back(store().start(request, [&](const Answer&) { ++completions; }));
    if (i % 3 == 0) {
      ASSERT_TRUE(store().advance(std::chrono::milliseconds(1)));
    }
  }
  const int before = completions;
  for (const auto id : ids) store().cancel(id);
  EXPECT_EQ(store().pending(), 0U);
  expect_contents("a", random_bytes(1'000'000, 1));
  EXPECT_EQ(completions, before);
}

TEST_P(ObjectStoreTest, ACompletionMayStartAndCancelRequests) {
  put("a", random_bytes(10, 1));
  bool is_done = false;
  bool other_completed = false;
  Request get;
  get.key = "a";
  store().start(get, [&](const Answer&) {
    const auto other = store().start(get, [&](const Answer&) { other_completed = true; });
    store().start(get, [&](const Answer& answer) { is_done = answer.ok(); });
    store().cancel(other);
  });
  ASSERT_TRUE(blocking().wait_until([&] { return is_done; }));
  EXPECT_FALSE(other_completed);
}

TEST_P(ObjectStoreTest, TheDescriptorIsReadableWhenThereIsSomethingToDo) {
  const Bytes bytes = random_bytes(300'000, 1);
  bool is_done = false;
  Request hostile;
  hostile.key = "..";
  store().start(hostile, [&](const Answer&) {
    store().start(put_request("a", bytes), [&](const Answer& answer) { is_done = answer.ok(); });
  });
  // The only wait is this poll(2): a descriptor that is not readable in time is a failure.
  while (store().pending() > 0) {
    pollfd waited{.fd = store().poll_fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&waited, 1, 30'000), 1);
    ASSERT_TRUE(store().advance(std::chrono::milliseconds(0)));
  }
  EXPECT_TRUE(is_done);
}

TEST_P(ObjectStoreTest, TheDestructorEndsWhatRuns) {
  auto other = under_test_.open();
  const Bytes bytes = random_bytes(1'000'000, 1);
  bool is_called = false;
  for (int i = 0; i < 20; ++i) {
    other->start(put_request("x/" + std::to_string(i), bytes),
                 [&](const Answer&) { is_called = true; });
  }
  other.reset();
  EXPECT_FALSE(is_called);
}

TEST_P(ObjectStoreTest, TheProbePassesAndLeavesNothing) {
  const auto report = probe(store(), nullptr);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GE(report->checks.size(), 12U);
  for (const ProbeCheck& check : report->checks) {
    EXPECT_TRUE(check.passed) << check.name << ": " << check.detail;
  }
  EXPECT_TRUE(report->usable());
  EXPECT_TRUE(report->clock_difference);
  EXPECT_TRUE(report->left_behind.empty());
  EXPECT_EQ(keys_below(""), std::vector<std::string>());
}

INSTANTIATE_TEST_SUITE_P(Over, ObjectStoreTest, testing::ValuesIn(tests::stores_under_test()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lamina::object_store
