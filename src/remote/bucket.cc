#include "remote/bucket.h"

#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "remote/encoding.h"
#include "remote/names.h"
#include "remote/requests.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::BlockingStore;
using object_store::ObjectStore;
using object_store::Outcome;

constexpr std::string_view kFormatLine = "lamina object tier 1\n";
constexpr std::string_view kIdLine = "bucket ";
constexpr std::uint64_t kMaxFormatBytes = 4096;

}  // namespace

/// What is known of v1/format. Unless an id is expected, the request for it is under way from the
/// beginning on.
class Bucket::Identity {
 public:
  Identity(ObjectStore& store, std::optional<Uuid> expected) : store_(store), expected_(expected) {
    if (!expected_) start();
  }
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;
  Identity(Identity&&) = delete;
  Identity& operator=(Identity&&) = delete;
  ~Identity() {
    if (is_started_ && !answer_) store_.cancel(request_);
  }

  Result<Uuid> read(BlockingStore& requests) {
    if (id_) return *id_;
    if (!is_started_) start();
    LAMINA_RETURN_IF_ERROR(requests.wait_until([this] { return answer_.has_value(); }));
    LAMINA_RETURN_IF_ERROR(strict_status(*answer_));
    auto decoded = decode_format(answer_->bytes);
    if (!decoded) {
      return std::unexpected(with_context(fmt::format("'{}'", store_.name_of(kFormatKey)),
                                          std::move(decoded.error())));
    }
    id_ = *decoded;
    return *id_;
  }

  /// A record or pin has `id`.
  void confirm(const Uuid& id) {
    if (!id_ && expected_ == id) id_ = id;
  }

  [[nodiscard]] ObjectStore& store() { return store_; }

  Result<Uuid> make(BlockingStore& requests) {
    auto known = read(requests);
    if (known || !is_absent()) return known;
    const Uuid fresh = Uuid::random();
    const std::string text = encode_format(fresh);
    const Answer put = requests.put(std::string(kFormatKey), std::as_bytes(std::span(text)),
                                    object_store::Condition::kIfAbsent);
    if (put.ok()) {
      id_ = fresh;
      return fresh;
    }
    // Another one was first, or the answer was lost.
    answer_.reset();
    start();
    known = read(requests);
    if (!known && is_absent()) return std::unexpected(put.error);
    return known;
  }

  /// As read(), by a new request if the first one found nothing.
  Result<Uuid> read_again(BlockingStore& requests) {
    if (is_absent()) {
      answer_.reset();
      start();
    }
    return read(requests);
  }

 private:
  /// False too while there is no answer: an interruption has ended the wait for it.
  [[nodiscard]] bool is_absent() const { return answer_ && answer_->outcome == Outcome::kAbsent; }
  void start() {
    is_started_ = true;
    request_ = store_.start(get_request(std::string(kFormatKey), kMaxFormatBytes),
                            [this](Answer answer) { answer_ = std::move(answer); });
  }

  ObjectStore& store_;
  std::optional<Uuid> expected_;
  bool is_started_ = false;
  ObjectStore::RequestId request_{};
  std::optional<Answer> answer_;
  std::optional<Uuid> id_;
};

Bucket::Bucket(ObjectStore& store, Progress* progress) : Bucket(store, progress, std::nullopt) {}

Bucket::Bucket(ObjectStore& store, Progress* progress, std::optional<Uuid> expected)
    : BlockingStore(store, progress), identity_(std::make_shared<Identity>(store, expected)) {}

Bucket Bucket::uninterruptible() const { return {BlockingStore(identity_->store()), identity_}; }

Result<Uuid> Bucket::id() { return identity_->read(*this); }

Result<Uuid> Bucket::make_id() { return identity_->make(*this); }

Error Bucket::absence_of(const std::string& key) {
  const Answer listed = list(key, {}, 1);
  if (!listed.ok()) return strict_status(listed).error();
  const bool is_there = !listed.entries.empty() && listed.entries.front().key == key;
  const std::string name = store().name_of(key);
  if (!is_there) return Error{ErrorKind::kNotFound, fmt::format("'{}' does not exist", name)};
  Error error{ErrorKind::kFailed, fmt::format("'{}' is listed, but a read says that it does not "
                                              "exist; nothing is concluded from that",
                                              name)};
  error.remedy = "try again";
  return error;
}

Status Bucket::check(const Uuid& id, std::string_view key) {
  identity_->confirm(id);
  auto ours = this->id();
  // The first push of a bucket may have made v1/format since, or its absence was a wrong answer.
  if (!ours) ours = identity_->read_again(*this);
  if (!ours) {
    if (ours.error().kind != ErrorKind::kNotFound) return std::unexpected(ours.error());
    return with_remedy(
        fail(ErrorKind::kCorrupt, "'{}' is missing, so '{}' cannot be trusted",
             store().name_of(kFormatKey), key),
        "if this is the bucket it was made for, put '{}' back with the two lines '{}' and '{}{}'",
        kFormatKey, kFormatLine.substr(0, kFormatLine.size() - 1), kIdLine, id.to_string());
  }
  if (*ours == id) return {};
  return fail(ErrorKind::kCorrupt, "'{}' was made for another bucket or prefix (id {}, here {})",
              key, id.to_string(), ours->to_string());
}

std::optional<Uuid> known_id(Bucket& bucket) {
  const auto id = bucket.id();
  if (!id) return std::nullopt;
  return *id;
}

std::string encode_format(const Uuid& bucket_id) {
  return fmt::format("{}{}{}\n", kFormatLine, kIdLine, bucket_id.to_string());
}

Result<Uuid> decode_format(std::span<const std::byte> bytes) {
  const std::string whole = to_text(bytes);
  std::string_view text = whole;
  if (!text.starts_with(kFormatLine)) {
    return fail(ErrorKind::kCorrupt, "it is not of an object tier that this build knows");
  }
  text.remove_prefix(kFormatLine.size());
  if (text.starts_with(kIdLine) && text.ends_with('\n')) {
    text.remove_prefix(kIdLine.size());
    text.remove_suffix(1);
    const auto id = Uuid::parse(std::string(text));
    if (id && !id->is_nil()) return *id;
  }
  return fail(ErrorKind::kCorrupt, "it has no id of the bucket");
}

}  // namespace lamina::remote
