// One interface to object stores: S3 (s3_store.h), a directory (directory_store.h).
//
// An object is a sequence of bytes under a key. It is written whole or not at all, and is never
// changed in place. The one condition that every server honours is "only if the key is absent".
//
// The interface is asynchronous and has no thread that a caller sees: start() queues a request,
// advance() moves all requests on and calls the completions of those that have ended. A thread that
// waits for other things too polls poll_fd() for POLLIN and then calls advance(0).
//
// What an answer means is the point of this interface. A server that fails is never taken for one
// that does not have the object, and a write whose answer was lost is neither done nor failed:
// Outcome says which of these is known. A single store does not repeat requests, except after a
// wrong clock and after credentials have been renewed; retrying_store.h does.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "object_store/digest.h"
#include "object_store/outcome.h"

namespace lamina::object_store {

/// The bytes [offset, offset + length) of an object. REQUIRES: length > 0.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

/// When a put writes.
enum class Condition : std::uint8_t {
  kNone,      ///< always; replaces an object of that key
  kIfAbsent,  ///< only if there is no object of that key: of several writers, one succeeds
};

/// How long one request may take.
struct Limits {
  using Milliseconds = std::chrono::milliseconds;
  /// From start() to its completion, the time in the queue included.
  Milliseconds deadline = std::chrono::minutes(5);
  /// To a connection, TLS included.
  Milliseconds connect = std::chrono::seconds(10);
  /// A transfer that moves fewer than `min_bytes_per_second` over a time of `stall` ends. It also
  /// bounds the wait for the first byte of an answer; not of kCompleteUpload, which servers take
  /// minutes for.
  Milliseconds stall = std::chrono::seconds(20);
  std::uint64_t min_bytes_per_second = 1024;
};

/// Largest object that is put in one request; larger ones are uploaded in parts.
inline constexpr std::uint64_t kMaxSinglePutBytes = std::uint64_t{16} << 20;
/// Bytes of each part but the last. S3 permits 5 MiB or more and 10,000 parts.
inline constexpr std::uint64_t kPartBytes = std::uint64_t{8} << 20;
inline constexpr unsigned kMaxParts = 10'000;
/// Largest page of a list.
inline constexpr std::size_t kMaxListKeys = 1000;

/// A part that has been uploaded, as kCompleteUpload names it.
struct UploadedPart {
  unsigned number = 0;  ///< from 1
  std::string tag;      ///< Answer::tag of its kUploadPart
};

/// What to do. Spans must stay valid until the completion is called, or until cancel() returns.
struct Request {
  Operation operation = Operation::kGet;
  std::string key;  ///< of kList and kListUploads: the prefix, which may be ""
  Limits limits{};
  /// True: before all queued requests that are not urgent.
  bool is_urgent = false;

  // kGet
  /// Absent: the whole object. The range must lie inside the object: a shorter object is kCorrupt.
  std::optional<ByteRange> range{};
  /// If not empty, receives the bytes; else Answer::bytes does. Undefined contents after a failure.
  std::span<std::byte> buffer{};
  /// Without `buffer` and `range`: a larger object is kCorrupt.
  std::uint64_t max_bytes = kMaxSinglePutBytes;
  /// Of the bytes that are returned. Others are kCorrupt.
  std::optional<Sha256> expected_digest{};
  /// Answer::tag of an earlier answer about this object: bytes of another content are kCorrupt. "":
  /// any content. Not compared if the store names no tag.
  std::string expected_tag{};

  // kPut, kUploadPart
  std::span<const std::byte> body{};
  Condition condition = Condition::kNone;  ///< kPut only
  /// False: the request must not be carried out twice, not even with the same bytes; so it is not
  /// sent again once it may have been carried out. Any operation that writes.
  bool may_be_sent_again = true;
  /// The MD5 of `body` if the caller knows it, else it is computed. The store refuses other bytes:
  /// kCorrupt.
  std::optional<Md5> md5{};

  // kUploadPart, kCompleteUpload, kAbortUpload; kListUploads: where the page before has ended
  std::string upload_id{};
  unsigned part_number = 0;
  std::vector<UploadedPart> parts{};  ///< of kCompleteUpload, ascending

  // kList, kListUploads
  /// Only keys behind this one. kListUploads with `upload_id`: uploads behind that one, too.
  std::string after{};
  std::size_t max_keys = kMaxListKeys;
};

/// An object in a list.
struct Entry {
  std::string key;
  std::uint64_t size_bytes = 0;
  std::chrono::sys_seconds modified{};  ///< by the server's clock
};

/// An upload in a list.
struct PendingUpload {
  std::string key;
  std::string upload_id;
  /// By the server's clock. Some servers do not say.
  std::optional<std::chrono::sys_seconds> begun{};
};

/// How a request ended.
struct Answer {
  Outcome outcome = Outcome::kRefused;
  /// Of every outcome but kDone.
  Error error{};
  /// Of a write that is not kDone: false if the store certainly did not and will not carry it out.
  bool may_have_happened = false;
  /// The store's clock, if it answered. A directory's is the clock of this host.
  std::optional<std::chrono::sys_seconds> server_time{};

  std::vector<std::byte> bytes{};       ///< kGet without a buffer
  std::uint64_t size_bytes = 0;         ///< kGet: bytes returned; kHead: of the object
  std::chrono::sys_seconds modified{};  ///< kHead
  /// kPut, kUploadPart, kHead, kGet: the store's name for this content; "" if it has none.
  std::string tag{};
  std::string upload_id{};  ///< kBeginUpload
  /// kList, in the order of the keys' bytes. A server that orders them otherwise (SeaweedFS, if a
  /// directory's name begins another name: "b/x" before "b-c") makes the list kCorrupt.
  std::vector<Entry> entries{};
  bool has_more = false;  ///< kList: keys follow the last one of `entries` (Request::after)
  /// kListUploads, in any order. Empty in a directory, which removes what writers have left when it
  /// is opened. With `has_more` the next page is behind `next_key` and `next_upload_id`.
  std::vector<PendingUpload> uploads{};
  std::string next_key{};
  std::string next_upload_id{};

  [[nodiscard]] bool ok() const { return outcome == Outcome::kDone; }
  /// Success, or the error.
  [[nodiscard]] Status status() const {
    if (ok()) return {};
    return std::unexpected(error);
  }
};

/// Not thread-safe, and not usable in a forked child.
class ObjectStore {
 public:
  using RequestId = std::uint64_t;
  /// Called once, from advance(), never from start(). It may start and cancel requests, and must
  /// not destroy the store or call advance(). Must not throw.
  using Completion = std::function<void(Answer)>;

  ObjectStore() = default;
  ObjectStore(const ObjectStore&) = delete;
  ObjectStore& operator=(const ObjectStore&) = delete;
  ObjectStore(ObjectStore&&) = delete;
  ObjectStore& operator=(ObjectStore&&) = delete;
  /// Ends all requests without their completions, as cancel() does.
  virtual ~ObjectStore() = default;

  /// Queues a request. Every error comes by the completion.
  virtual RequestId start(Request request, Completion completion) = 0;

  /// Ends a request without its completion; its spans are not used any more. A write may have been
  /// carried out. Does nothing if the request has ended.
  virtual void cancel(RequestId id) = 0;

  /// Readable when advance() has something to do.
  [[nodiscard]] virtual int poll_fd() const = 0;

  /// Waits up to `timeout` until something happens (0: not at all), moves requests on, and calls
  /// completions. Fails only if the loop itself does (kFailed); requests then stay as they are.
  virtual Status advance(std::chrono::milliseconds timeout) = 0;

  /// Number of requests that have not ended.
  [[nodiscard]] virtual std::size_t pending() const = 0;

  /// The store, or the object of a key, for messages: "s3://bucket/a/b".
  [[nodiscard]] virtual std::string name_of(std::string_view key) const = 0;
};

}  // namespace lamina::object_store
