#include "e2b/build_bucket.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "object_store/blocking_store.h"
#include "object_store/remote_url.h"
#include "object_store/retrying_store.h"

namespace lamina::e2b {
namespace {

using object_store::Answer;
using object_store::BlockingStore;
using object_store::ObjectStore;
using object_store::Outcome;

/// Bytes of one request, unless a single announcement has more.
constexpr std::uint64_t kRequestBytes = std::uint64_t{2} << 20;

/// An answer's error. kNotFound is left to kAbsent: a bucket that does not exist is not a build
/// that does not.
Error error_of(const Answer& answer) {
  Error error = answer.error;
  if (error.kind == ErrorKind::kNotFound) error.kind = ErrorKind::kFailed;
  return error;
}

/// What an object was when it was opened.
struct Content {
  std::uint64_t size_bytes = 0;
  std::string tag;  ///< Answer::tag
};

class BucketObject final : public StoredObject {
 public:
  BucketObject(ObjectStore& store, Progress* progress, std::string key, Content content)
      : store_(store),
        blocking_(store, progress),
        key_(std::move(key)),
        content_(std::move(content)) {}
  BucketObject(const BucketObject&) = delete;
  BucketObject& operator=(const BucketObject&) = delete;
  BucketObject(BucketObject&&) = delete;
  BucketObject& operator=(BucketObject&&) = delete;
  ~BucketObject() override {
    for (const auto& part : parts_) {
      if (part->is_sent && !part->result) store_.cancel(part->id);
    }
  }

  [[nodiscard]] std::uint64_t size_bytes() const override { return content_.size_bytes; }

  void announce(std::uint64_t offset, std::uint64_t length) override {
    if (length == 0) return;
    if (!parts_.empty() && !parts_.back()->is_sent) {
      Part& last = *parts_.back();
      if (last.offset + last.length == offset && last.length + length <= kRequestBytes) {
        last.length += length;
        if (last.length == kRequestBytes) send(last);
        return;
      }
      send(last);
    }
    parts_.push_back(std::make_unique<Part>(offset, length));
    if (length >= kRequestBytes) send(*parts_.back());
  }

  Status read(std::uint64_t offset, std::span<std::byte> into) override {
    if (into.empty()) return {};
    while (!parts_.empty() && parts_.front()->end() <= offset) parts_.pop_front();
    if (parts_.empty() || offset < parts_.front()->offset ||
        offset + into.size() > parts_.front()->end()) {
      return fail(ErrorKind::kFailed, "object '{}': the bytes at {:#x} were not announced",
                  store_.name_of(key_), offset);
    }
    Part& part = *parts_.front();
    if (!part.is_sent) send(part);
    LAMINA_RETURN_IF_ERROR(blocking_.wait_until([&] { return part.result.has_value(); }));
    LAMINA_RETURN_IF_ERROR(*part.result);
    std::ranges::copy(std::span(part.bytes).subspan(offset - part.offset, into.size()),
                      into.begin());
    return {};
  }

 private:
  struct Part {
    Part(std::uint64_t offset_, std::uint64_t length_) : offset(offset_), length(length_) {}

    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    bool is_sent = false;
    std::vector<std::byte> bytes{};
    ObjectStore::RequestId id = 0;
    std::optional<Status> result{};

    [[nodiscard]] std::uint64_t end() const { return offset + length; }
  };

  void send(Part& part) {
    part.is_sent = true;
    part.bytes.resize(part.length);
    object_store::Request request;
    request.operation = object_store::Operation::kGet;
    request.key = key_;
    request.range = {part.offset, part.length};
    request.buffer = part.bytes;
    request.expected_tag = content_.tag;
    part.id = store_.start(std::move(request), [this, place = &part](const Answer& answer) {
      place->result = status_of(answer);
    });
  }

  [[nodiscard]] Status status_of(const Answer& answer) const {
    if (answer.ok()) return {};
    // It was there a moment ago.
    if (answer.outcome == Outcome::kAbsent) {
      return fail(ErrorKind::kNotFound, "object '{}' was removed meanwhile", store_.name_of(key_));
    }
    return std::unexpected(error_of(answer));
  }

  ObjectStore& store_;
  BlockingStore blocking_;
  std::string key_;
  Content content_;
  std::deque<std::unique_ptr<Part>> parts_;  ///< announced, and not all read; ascending
};

std::string key_of(const Uuid& build, const std::string& name) {
  return build.to_string() + "/" + name;
}

/// Absent: there is certainly no object of that key.
Result<std::optional<Content>> content_of(BlockingStore& store, const std::string& key) {
  const Answer head = store.head(key);
  if (head.ok()) return Content{.size_bytes = head.size_bytes, .tag = head.tag};
  if (head.outcome != Outcome::kAbsent) return std::unexpected(error_of(head));
  // If the key exists, it is the first one that it begins.
  const Answer list = store.list(key, {}, 1);
  if (!list.ok()) return std::unexpected(error_of(list));
  if (list.entries.empty() || list.entries.front().key != key) return std::nullopt;
  return fail(ErrorKind::kFailed, "object '{}' is listed, and the store says that it is absent",
              store.store().name_of(key));
}

}  // namespace

BuildBucket::BuildBucket(std::unique_ptr<ObjectStore> store, Progress* progress)
    : store_(std::move(store)), progress_(progress) {}

std::string BuildBucket::path_of(const Uuid& build, const std::string& name) const {
  return store_->name_of(key_of(build, name));
}

Result<std::unique_ptr<StoredObject>> BuildBucket::open(const Uuid& build,
                                                        const std::string& name) {
  BlockingStore blocking(*store_, progress_);
  std::string key = key_of(build, name);
  LAMINA_ASSIGN_OR_RETURN(auto content, content_of(blocking, key));
  if (!content) return nullptr;
  return std::make_unique<BucketObject>(*store_, progress_, std::move(key), std::move(*content));
}

Result<bool> BuildBucket::exists(const Uuid& build, const std::string& name) {
  BlockingStore blocking(*store_, progress_);
  LAMINA_ASSIGN_OR_RETURN(const auto content, content_of(blocking, key_of(build, name)));
  return content.has_value();
}

bool is_url(const std::string& place) { return place.find("://") != std::string::npos; }

Result<std::unique_ptr<ObjectSource>> open_build_bucket(const std::string& url,
                                                        Progress* progress) {
  const object_store::Environment environment = object_store::process_environment();
  LAMINA_ASSIGN_OR_RETURN(const object_store::RemoteUrl parsed,
                          object_store::parse_remote_url(url, environment));
  LAMINA_ASSIGN_OR_RETURN(auto plain, object_store::open_remote(parsed, environment));
  LAMINA_ASSIGN_OR_RETURN(auto store, object_store::make_retrying_store(std::move(plain), {}));
  return std::make_unique<BuildBucket>(std::move(store), progress);
}

}  // namespace lamina::e2b
