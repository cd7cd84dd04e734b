#include "object_store/probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "object_store/blocking_store.h"
#include "object_store/upload_writer.h"

namespace lamina::object_store {
namespace {

constexpr std::size_t kProbeBytes = 100'000;
constexpr std::size_t kRacers = 8;

/// Bytes that are not the same anywhere, and others for each seed.
std::vector<std::byte> pattern(std::size_t size, std::uint64_t seed) {
  std::vector<std::byte> bytes(size);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15U + 1;
  for (std::byte& byte : bytes) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<std::byte>(state >> 56U);
  }
  return bytes;
}

/// What came instead of what was expected.
std::unexpected<Error> instead(const Answer& answer) {
  if (answer.ok()) return fail(ErrorKind::kFailed, "the store answers that it is done");
  return fail(ErrorKind::kFailed, "{}", answer.error.message);
}

Status expect(const Answer& answer, Outcome wanted) {
  if (answer.outcome == wanted) return {};
  return instead(answer);
}

class Prober {
 public:
  Prober(ObjectStore& store, Progress* progress, std::string base)
      : store_(store), blocking_(store, progress), progress_(progress), base_(std::move(base)) {}

  Result<ProbeReport> run();

 private:
  [[nodiscard]] std::string key(std::string_view name) const { return base_ + std::string(name); }

  /// Adds a check; kInterrupted ends the probe.
  template <typename Body>
  Status check(std::string name, std::string what, Body body) {
    const Status result = body();
    if (!result && result.error().kind == ErrorKind::kInterrupted) return result;
    report_.checks.push_back(ProbeCheck{.name = std::move(name),
                                        .what = std::move(what),
                                        .passed = result.has_value(),
                                        .detail = result ? "" : result.error().message});
    return {};
  }

  Status expect_contents(const std::string& name, std::span<const std::byte> wanted);
  Status write_and_read();
  Status absent();
  Status conditional_put();
  Status conditional_put_race();
  Status ranges();
  Status range_past_the_end();
  Status wrong_digest();
  Status head();
  Status list();
  Status removed_from_list();
  Status multipart();
  Status remove_twice();
  Status run_checks();
  void clean_up();

  ObjectStore& store_;
  BlockingStore blocking_;
  Progress* progress_;
  std::string base_;
  ProbeReport report_;
};

Result<ProbeReport> Prober::run() {
  report_.store = store_.name_of("");
  const Status done = run_checks();
  clean_up();
  LAMINA_RETURN_IF_ERROR(done);
  return std::move(report_);
}

Status Prober::run_checks() {
  LAMINA_RETURN_IF_ERROR(check("write_and_read", "an object is read as it was written",
                               [this] { return write_and_read(); }));
  if (!report_.checks.back().passed) return {};
  LAMINA_RETURN_IF_ERROR(
      check("absent", "a missing object is reported as missing", [this] { return absent(); }));
  LAMINA_RETURN_IF_ERROR(check("conditional_put", "a conditional put does not replace an object",
                               [this] { return conditional_put(); }));
  LAMINA_RETURN_IF_ERROR(check("conditional_put_race",
                               "of 8 conditional puts at once, one succeeds",
                               [this] { return conditional_put_race(); }));
  LAMINA_RETURN_IF_ERROR(
      check("ranges", "ranges are the bytes asked for", [this] { return ranges(); }));
  LAMINA_RETURN_IF_ERROR(check("range_past_the_end", "a range past the end is not an object's",
                               [this] { return range_past_the_end(); }));
  LAMINA_RETURN_IF_ERROR(check("wrong_digest", "bytes that do not match Content-MD5 are refused",
                               [this] { return wrong_digest(); }));
  LAMINA_RETURN_IF_ERROR(check("head", "sizes are right", [this] { return head(); }));
  LAMINA_RETURN_IF_ERROR(
      check("list", "a list has all objects, in order, page by page", [this] { return list(); }));
  LAMINA_RETURN_IF_ERROR(check("removed_from_list", "a removed object is in no later list",
                               [this] { return removed_from_list(); }));
  LAMINA_RETURN_IF_ERROR(check("multipart", "an object uploaded in parts is read as it was written",
                               [this] { return multipart(); }));
  return check("remove_twice", "removing a missing object succeeds",
               [this] { return remove_twice(); });
}

Status Prober::expect_contents(const std::string& name, std::span<const std::byte> wanted) {
  const Answer got = blocking_.get(key(name));
  LAMINA_RETURN_IF_ERROR(expect(got, Outcome::kDone));
  if (!std::ranges::equal(got.bytes, wanted)) {
    return fail(ErrorKind::kFailed, "'{}' has other bytes than were written", key(name));
  }
  return {};
}

Status Prober::write_and_read() {
  const auto bytes = pattern(kProbeBytes, 1);
  const Answer put = blocking_.put(key("object"), bytes);
  LAMINA_RETURN_IF_ERROR(expect(put, Outcome::kDone));
  if (put.server_time) {
    const auto here = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    report_.clock_difference = *put.server_time - here;
  }
  return expect_contents("object", bytes);
}

Status Prober::absent() {
  LAMINA_RETURN_IF_ERROR(expect(blocking_.get(key("missing")), Outcome::kAbsent));
  return expect(blocking_.head(key("missing")), Outcome::kAbsent);
}

Status Prober::conditional_put() {
  const auto first = pattern(kProbeBytes, 2);
  const auto second = pattern(kProbeBytes, 3);
  LAMINA_RETURN_IF_ERROR(
      expect(blocking_.put(key("once"), first, Condition::kIfAbsent), Outcome::kDone));
  LAMINA_RETURN_IF_ERROR(
      expect(blocking_.put(key("once"), second, Condition::kIfAbsent), Outcome::kExists));
  return expect_contents("once", first);
}

Status Prober::conditional_put_race() {
  std::array<std::vector<std::byte>, kRacers> bodies;
  std::array<std::optional<Answer>, kRacers> answers;
  std::array<ObjectStore::RequestId, kRacers> ids{};
  for (std::size_t i = 0; i < kRacers; ++i) {
    bodies.at(i) = pattern(kProbeBytes, 10 + i);
    Request request;
    request.operation = Operation::kPut;
    request.key = key("race");
    request.body = bodies.at(i);
    request.condition = Condition::kIfAbsent;
    ids.at(i) = store_.start(std::move(request),
                             [&answers, i](Answer answer) { answers.at(i) = std::move(answer); });
  }
  const auto has_ended = [](const std::optional<Answer>& answer) { return answer.has_value(); };
  const Status waited =
      blocking_.wait_until([&] { return std::ranges::all_of(answers, has_ended); });
  if (!waited) {
    for (const ObjectStore::RequestId id : ids) store_.cancel(id);
    return waited;
  }
  std::vector<std::size_t> winners;
  for (std::size_t i = 0; i < kRacers; ++i) {
    if (answers.at(i)->ok()) winners.push_back(i);
    if (!answers.at(i)->ok() && answers.at(i)->outcome != Outcome::kExists) {
      return instead(*answers.at(i));
    }
  }
  if (winners.size() != 1) {
    return fail(ErrorKind::kFailed, "{} of {} conditional puts succeed", winners.size(), kRacers);
  }
  return expect_contents("race", bodies.at(winners.front()));
}

Status Prober::ranges() {
  const auto bytes = pattern(kProbeBytes, 1);
  constexpr std::array<ByteRange, 4> kRanges = {{{.offset = 0, .length = 1},
                                                 {.offset = 1000, .length = 4096},
                                                 {.offset = 99'999, .length = 1},
                                                 {.offset = 0, .length = kProbeBytes}}};
  for (const ByteRange& range : kRanges) {
    const Answer got = blocking_.get_range(key("object"), range);
    LAMINA_RETURN_IF_ERROR(expect(got, Outcome::kDone));
    const auto wanted = std::span(bytes).subspan(range.offset, range.length);
    if (!std::ranges::equal(got.bytes, wanted)) {
      return fail(ErrorKind::kFailed, "{} bytes at {} are others", range.length, range.offset);
    }
  }
  return {};
}

Status Prober::range_past_the_end() {
  const ByteRange behind{.offset = kProbeBytes, .length = 10};
  const ByteRange across{.offset = kProbeBytes - 5, .length = 10};
  LAMINA_RETURN_IF_ERROR(expect(blocking_.get_range(key("object"), behind), Outcome::kCorrupt));
  return expect(blocking_.get_range(key("object"), across), Outcome::kCorrupt);
}

Status Prober::wrong_digest() {
  const auto bytes = pattern(kProbeBytes, 4);
  Request request;
  request.operation = Operation::kPut;
  request.key = key("damaged");
  request.body = bytes;
  LAMINA_ASSIGN_OR_RETURN(request.md5, md5_of(std::as_bytes(std::span("other bytes"))));
  LAMINA_RETURN_IF_ERROR(expect(blocking_.run(std::move(request)), Outcome::kCorrupt));
  return expect(blocking_.head(key("damaged")), Outcome::kAbsent);
}

Status Prober::head() {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{70'000}}) {
    const std::string name = fmt::format("size-{}", size);
    LAMINA_RETURN_IF_ERROR(expect(blocking_.put(key(name), pattern(size, 5)), Outcome::kDone));
    const Answer answer = blocking_.head(key(name));
    LAMINA_RETURN_IF_ERROR(expect(answer, Outcome::kDone));
    if (answer.size_bytes != size) {
      return fail(ErrorKind::kFailed, "an object of {} bytes has {}", size, answer.size_bytes);
    }
  }
  return {};
}

Status Prober::list() {
  std::vector<std::string> wanted;
  for (int i = 0; i < 12; ++i) {
    wanted.push_back(key(fmt::format("list/{:02}.x_-{}", i, i % 3)));
    LAMINA_RETURN_IF_ERROR(expect(blocking_.put(wanted.back(), pattern(10, 6)), Outcome::kDone));
  }
  std::vector<std::string> found;
  bool has_more = true;
  while (has_more && found.size() <= wanted.size()) {
    const Answer page = blocking_.list(key("list/"), found.empty() ? "" : found.back(), 5);
    LAMINA_RETURN_IF_ERROR(expect(page, Outcome::kDone));
    for (const Entry& entry : page.entries) found.push_back(entry.key);
    has_more = page.has_more;
  }
  if (found == wanted) return {};
  return fail(ErrorKind::kFailed, "{} objects are listed, not the {} that were written",
              found.size(), wanted.size());
}

Status Prober::removed_from_list() {
  for (int i = 0; i < 10; ++i) {
    const std::string name = key(fmt::format("gone/{}", i));
    LAMINA_RETURN_IF_ERROR(expect(blocking_.put(name, pattern(10, 7)), Outcome::kDone));
    const Answer with = blocking_.list(key("gone/"));
    LAMINA_RETURN_IF_ERROR(expect(with, Outcome::kDone));
    LAMINA_RETURN_IF_ERROR(expect(blocking_.remove(name), Outcome::kDone));
    const Answer without = blocking_.list(key("gone/"));
    LAMINA_RETURN_IF_ERROR(expect(without, Outcome::kDone));
    if (with.entries.size() != 1 || !without.entries.empty()) {
      return fail(ErrorKind::kFailed, "{} objects are listed after a put, {} after its removal",
                  with.entries.size(), without.entries.size());
    }
  }
  return {};
}

Status Prober::multipart() {
  const std::size_t size = kMaxSinglePutBytes + 12'345;
  const auto bytes = pattern(size, 8);
  UploadWriter writer(store_, key("parts"), {.progress = progress_});
  LAMINA_RETURN_IF_ERROR(writer.write(bytes));
  LAMINA_RETURN_IF_ERROR(writer.finish());
  const Answer head = blocking_.head(key("parts"));
  LAMINA_RETURN_IF_ERROR(expect(head, Outcome::kDone));
  const Answer got = blocking_.get(key("parts"), size);
  LAMINA_RETURN_IF_ERROR(expect(got, Outcome::kDone));
  if (head.size_bytes == size && std::ranges::equal(got.bytes, bytes)) return {};
  return fail(ErrorKind::kFailed, "'{}' has other bytes than were uploaded", key("parts"));
}

Status Prober::remove_twice() {
  LAMINA_RETURN_IF_ERROR(expect(blocking_.remove(key("object")), Outcome::kDone));
  LAMINA_RETURN_IF_ERROR(expect(blocking_.remove(key("object")), Outcome::kDone));
  return expect(blocking_.get(key("object")), Outcome::kAbsent);
}

void Prober::clean_up() {
  // Not interruptible.
  BlockingStore blocking(store_);
  const auto entries = blocking.list_all(base_);
  if (!entries) {
    if (!report_.checks.empty() && report_.checks.front().passed) {
      report_.left_behind.push_back(store_.name_of(base_));
    }
    return;
  }
  for (const Entry& entry : *entries) {
    if (!blocking.remove(entry.key).ok()) {
      report_.left_behind.push_back(store_.name_of(entry.key));
    }
  }
}

}  // namespace

bool ProbeReport::usable() const { return std::ranges::all_of(checks, &ProbeCheck::passed); }

Result<ProbeReport> probe(ObjectStore& store, Progress* progress) {
  LAMINA_ASSIGN_OR_RETURN(const std::string nonce, random_hex(8));
  return Prober(store, progress, "probe/" + nonce + "/").run();
}

}  // namespace lamina::object_store
