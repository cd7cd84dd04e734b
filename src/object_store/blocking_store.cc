#include "object_store/blocking_store.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <optional>
#include <utility>

#include "base/error.h"
#include "object_store/answers.h"

namespace lamina::object_store {
namespace {

constexpr std::chrono::milliseconds kStep{200};

Request request_of(Operation operation, const std::string& key) {
  Request request;
  request.operation = operation;
  request.key = key;
  return request;
}

}  // namespace

Status BlockingStore::step() {
  if (progress_ != nullptr && progress_->interrupted()) {
    return fail(ErrorKind::kInterrupted, "interrupted");
  }
  return store_.advance(kStep);
}

Answer BlockingStore::run(Request request) {
  std::optional<Answer> answer;
  const Outcome otherwise = is_write(request.operation) ? Outcome::kUnknown : Outcome::kUnavailable;
  const ObjectStore::RequestId id = store_.start(
      std::move(request), [&answer](Answer received) { answer = std::move(received); });
  const Status waited = wait_until([&] { return answer.has_value(); });
  if (waited) return std::move(*answer);
  store_.cancel(id);
  return failed_answer(otherwise, waited.error());
}

Answer BlockingStore::get(const std::string& key, std::uint64_t max_bytes) {
  Request request = request_of(Operation::kGet, key);
  request.max_bytes = max_bytes;
  return run(std::move(request));
}

Answer BlockingStore::get_range(const std::string& key, ByteRange range) {
  Request request = request_of(Operation::kGet, key);
  request.range = range;
  return run(std::move(request));
}

Answer BlockingStore::put(const std::string& key, std::span<const std::byte> bytes,
                          Condition condition) {
  Request request = request_of(Operation::kPut, key);
  request.body = bytes;
  request.condition = condition;
  return run(std::move(request));
}

Answer BlockingStore::head(const std::string& key) {
  return run(request_of(Operation::kHead, key));
}

Answer BlockingStore::remove(const std::string& key) {
  return run(request_of(Operation::kRemove, key));
}

Answer BlockingStore::list(const std::string& prefix, const std::string& after,
                           std::size_t max_keys) {
  Request request = request_of(Operation::kList, prefix);
  request.after = after;
  request.max_keys = max_keys;
  return run(std::move(request));
}

Result<std::vector<Entry>> BlockingStore::list_all(const std::string& prefix) {
  std::vector<Entry> entries;
  while (true) {
    Answer page = list(prefix, entries.empty() ? std::string() : entries.back().key);
    LAMINA_RETURN_IF_ERROR(page.status());
    std::ranges::move(page.entries, std::back_inserter(entries));
    if (!page.has_more) return entries;
  }
}

}  // namespace lamina::object_store
