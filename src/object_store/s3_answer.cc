#include "object_store/s3_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/escape.h"
#include "object_store/answers.h"
#include "object_store/encoding.h"
#include "object_store/s3_xml.h"

namespace lamina::object_store {
namespace {

/// An error of S3 by its code, where the status does not say enough.
struct KnownCode {
  std::string_view code;
  Outcome outcome;
  ErrorKind kind;
  std::string_view remedy;
};

constexpr std::array kKnownCodes = {
    KnownCode{"NoSuchKey", Outcome::kAbsent, ErrorKind::kNotFound, ""},
    KnownCode{"NoSuchBucket", Outcome::kRefused, ErrorKind::kNotFound, "create the bucket"},
    KnownCode{"PreconditionFailed", Outcome::kExists, ErrorKind::kExists, ""},
    KnownCode{"ConditionalRequestConflict", Outcome::kUnavailable, ErrorKind::kFailed, ""},
    KnownCode{"OperationAborted", Outcome::kUnavailable, ErrorKind::kFailed, ""},
    KnownCode{"InvalidRange", Outcome::kCorrupt, ErrorKind::kCorrupt, ""},
    KnownCode{"BadDigest", Outcome::kCorrupt, ErrorKind::kCorrupt, ""},
    KnownCode{"InvalidDigest", Outcome::kCorrupt, ErrorKind::kCorrupt, ""},
    KnownCode{"XAmzContentSHA256Mismatch", Outcome::kCorrupt, ErrorKind::kCorrupt, ""},
    KnownCode{"RequestTimeout", Outcome::kUnavailable, ErrorKind::kFailed, ""},
    KnownCode{"IncompleteBody", Outcome::kUnavailable, ErrorKind::kFailed, ""},
    KnownCode{"SlowDown", Outcome::kUnavailable, ErrorKind::kFailed, ""},
    KnownCode{"ExpiredToken", Outcome::kDenied, ErrorKind::kPermission, "renew the credentials"},
    KnownCode{"InvalidToken", Outcome::kDenied, ErrorKind::kPermission, "renew the credentials"},
    KnownCode{"RequestTimeTooSkewed", Outcome::kDenied, ErrorKind::kPermission,
              "set the clock of this host"},
    KnownCode{"SignatureDoesNotMatch", Outcome::kDenied, ErrorKind::kPermission,
              "check the secret key and the region"},
    KnownCode{"InvalidAccessKeyId", Outcome::kDenied, ErrorKind::kPermission,
              "check the access key"},
    // versitygw, with status 404.
    KnownCode{"XAdminUserNotFound", Outcome::kDenied, ErrorKind::kPermission,
              "check the access key"},
    KnownCode{"AuthorizationHeaderMalformed", Outcome::kDenied, ErrorKind::kPermission,
              "check the region"},
    KnownCode{"QuotaExceeded", Outcome::kRefused, ErrorKind::kNoSpace,
              "make room, or raise the quota"},
    KnownCode{"InsufficientStorage", Outcome::kRefused, ErrorKind::kNoSpace, "make room"},
    KnownCode{"NotImplemented", Outcome::kRefused, ErrorKind::kUnsupported, ""},
};

/// Rejections that a server makes before it looks at the request: nothing was or will be done.
constexpr std::array<std::string_view, 4> kRejectedAtOnce = {"SlowDown", "ServiceUnavailable",
                                                             "TooManyRequests", "Throttling"};

const KnownCode* known_code(std::string_view code) {
  const auto found = std::ranges::find(kKnownCodes, code, &KnownCode::code);
  return found == kKnownCodes.end() ? nullptr : &*found;
}

Outcome outcome_of_status(int status) {
  if (status == 401 || status == 403) return Outcome::kDenied;
  if (status == 412) return Outcome::kExists;
  if (status == 416) return Outcome::kCorrupt;
  // 404: not by the object store, or it would say what is absent.
  if (status == 404 || status == 408 || status == 425 || status == 429 || status >= 500) {
    return status == 501 ? Outcome::kRefused : Outcome::kUnavailable;
  }
  return Outcome::kRefused;
}

void cut_out(std::string& text, std::string_view secret) {
  if (secret.empty()) return;
  for (std::size_t at = text.find(secret); at != std::string::npos; at = text.find(secret)) {
    text.replace(at, secret.size(), "***");
  }
}

/// An ETag without the mark W/ that a proxy adds to the tags of what it compresses or converts.
std::string_view strong_tag(std::string_view tag) {
  if (tag.starts_with("W/")) tag.remove_prefix(2);
  return tag;
}

/// The answers to one request.
class AnswerMaker {
 public:
  AnswerMaker(const Request& request, HttpAnswer& http, const AnswerContext& context)
      : request_(request), http_(http), context_(context) {}

  Answer make() {
    Answer answer = outcome();
    answer.server_time = time_of_http(http_.header("date"));
    return answer;
  }

 private:
  Answer outcome() {
    const bool is_success = http_.status >= 200 && http_.status < 300;
    if (http_.failure == HttpFailure::kTooLong && is_success) return too_long();
    // A status in full is an answer also if its text broke off; but success needs all of it.
    if (http_.status == 0 || (http_.failure != HttpFailure::kNone && is_success))
      return no_answer();
    return is_success ? success() : server_error();
  }

  [[nodiscard]] std::string what() const {
    return fmt::format("{} '{}{}'", word_of(request_.operation), context_.endpoint.name,
                       escaped_value(request_.key));
  }

  [[nodiscard]] Answer corrupt(std::string_view reason) const {
    Answer answer = failed_answer(Outcome::kCorrupt, fmt::format("{}: {}", what(), reason));
    answer.may_have_happened = is_write(request_.operation);
    return answer;
  }

  [[nodiscard]] Answer too_long() const {
    if (request_.operation == Operation::kGet && !request_.range) {
      return corrupt(
          fmt::format("the object has more than {} bytes",
                      request_.buffer.empty() ? request_.max_bytes : request_.buffer.size()));
    }
    return corrupt(http_.status == 200 && request_.range
                       ? "the server sends the whole object in place of the range"
                       : "the answer is longer than expected");
  }

  [[nodiscard]] Answer no_answer() const {
    const bool may_have_happened = is_write(request_.operation) && http_.was_sent;
    const Outcome outcome = may_have_happened ? Outcome::kUnknown : Outcome::kUnavailable;
    Answer answer = failed_answer(
        outcome, fmt::format("{} at {}: {}", what(), context_.endpoint.base_url, http_.message));
    if (http_.failure == HttpFailure::kNotTrusted || http_.failure == HttpFailure::kLocal) {
      answer.outcome = Outcome::kRefused;
      if (http_.failure == HttpFailure::kNotTrusted) {
        answer.error.remedy = "set ca_file to the certificate of the server's authority";
      }
    }
    return answer;
  }

  Answer server_error() {
    const auto error = error_in(http_.body);
    const KnownCode* known = error ? known_code(error->code) : nullptr;
    if (known != nullptr && known->outcome == Outcome::kAbsent) {
      if (request_.operation == Operation::kRemove) return done();
      if (request_.operation != Operation::kGet) known = nullptr;
    }
    if (error && error->code == "NoSuchUpload") return no_upload();
    Outcome outcome = known != nullptr ? known->outcome : outcome_of_status(http_.status);
    // An object store's own 404 that is not known is not an outage.
    if (known == nullptr && error && http_.status == 404) outcome = Outcome::kRefused;
    if (outcome == Outcome::kExists && request_.condition == Condition::kNone) {
      outcome = Outcome::kRefused;
    }
    Answer answer = failed_answer(outcome, message_of(error));
    if (known != nullptr) {
      answer.error.kind = known->kind;
      answer.error.remedy = known->remedy;
    }
    if (http_.status >= 300 && http_.status < 400) answer.error.remedy = region_remedy();
    answer.may_have_happened = may_have_happened(outcome, error);
    return answer;
  }

  /// Of a write that a server could not carry out, or says so.
  [[nodiscard]] bool may_have_happened(Outcome outcome, const std::optional<S3Error>& error) const {
    if (!is_write(request_.operation) || outcome != Outcome::kUnavailable) return false;
    if (http_.status == 429 || http_.status == 409) return false;
    return !error || std::ranges::find(kRejectedAtOnce, error->code) == kRejectedAtOnce.end();
  }

  /// Completed or aborted before, or collected by the server's rules of life cycle.
  Answer no_upload() {
    if (request_.operation == Operation::kAbortUpload) return done();
    Answer answer =
        failed_answer(Outcome::kRefused, what() + ": the upload does not exist any more");
    if (request_.operation == Operation::kCompleteUpload) {
      answer.outcome = Outcome::kUnknown;
      answer.may_have_happened = true;
    }
    return answer;
  }

  [[nodiscard]] std::string message_of(const std::optional<S3Error>& error) const {
    std::string text = fmt::format("{}: status {}", what(), http_.status);
    if (!error) return text;
    text += fmt::format(" {}", escaped_value(error->code));
    std::string detail = escaped_value(error->message);
    while (detail.ends_with('.')) detail.pop_back();
    if (!detail.empty()) text += fmt::format(" ({})", detail);
    cut_out(text, context_.credentials.secret_key);
    cut_out(text, context_.credentials.session_token);
    cut_out(text, context_.credentials.access_key);
    return text;
  }

  [[nodiscard]] std::string region_remedy() const {
    const std::string_view region = http_.header("x-amz-bucket-region");
    if (region.empty()) return "check endpoint and region: redirects are not followed";
    return fmt::format("set region={}", escaped_value(region));
  }

  static Answer done() {
    Answer answer;
    answer.outcome = Outcome::kDone;
    return answer;
  }

  Answer success() {
    switch (request_.operation) {
      case Operation::kGet:
        return got();
      case Operation::kHead:
        return head();
      case Operation::kList:
        return list();
      case Operation::kListUploads:
        return uploads();
      case Operation::kBeginUpload:
        return begun();
      case Operation::kCompleteUpload:
        return completed();
      default: {
        Answer answer = done();
        answer.tag = std::string(http_.header("etag"));
        if (request_.operation == Operation::kUploadPart && answer.tag.empty()) {
          return corrupt("the server names no ETag of the part");
        }
        return answer;
      }
    }
  }

  Answer got() {
    if (request_.range && (http_.status != 206 || http_.body_bytes != request_.range->length)) {
      return corrupt(http_.status == 206
                         ? fmt::format("the server sends {} bytes for a range of {}",
                                       http_.body_bytes, request_.range->length)
                         : "the server sends the whole object in place of the range");
    }
    if (request_.range && !is_range_named()) {
      return corrupt(fmt::format("the server sends the range '{}'",
                                 escaped_value(http_.header("content-range"))));
    }
    const std::string_view tag = strong_tag(http_.header("etag"));
    const std::string_view expected_tag = strong_tag(request_.expected_tag);
    if (!tag.empty() && !expected_tag.empty() && tag != expected_tag) {
      return corrupt("the object was replaced meanwhile");
    }
    const auto bytes = request_.buffer.empty()
                           ? std::span<const std::byte>(http_.body)
                           : std::span<const std::byte>(request_.buffer).first(http_.body_bytes);
    if (request_.expected_digest && sha256_of(bytes) != *request_.expected_digest) {
      return corrupt("the bytes are not those of the expected digest");
    }
    Answer answer = done();
    answer.size_bytes = http_.body_bytes;
    answer.tag = std::string(http_.header("etag"));
    answer.bytes = std::move(http_.body);
    return answer;
  }

  /// "bytes 0-9/100"
  [[nodiscard]] bool is_range_named() const {
    const ByteRange& range = *request_.range;
    const std::string start =
        fmt::format("bytes {}-{}/", range.offset, range.offset + range.length - 1);
    return http_.header("content-range").starts_with(start);
  }

  Answer head() {
    const std::string_view text = http_.header("content-length");
    Answer answer = done();
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), answer.size_bytes);
    if (text.empty() || parsed.ec != std::errc()) return corrupt("the server names no length");
    answer.modified = time_of_http(http_.header("last-modified")).value_or(answer.modified);
    answer.tag = std::string(http_.header("etag"));
    return answer;
  }

  Answer list() {
    auto page = list_in(http_.body);
    if (!page) return corrupt(page.error().message);
    Answer answer = done();
    const std::string& prefix = context_.endpoint.prefix;
    std::string before = prefix + request_.after;
    for (Entry& entry : page->entries) {
      if (!entry.key.starts_with(prefix + request_.key)) {
        return corrupt("the list has a key without the prefix");
      }
      // The object that some tools make to show the prefix as a directory.
      if (entry.key == prefix) continue;
      // Equal keys too: an object must not be seen twice.
      if (entry.key <= before && !before.empty()) return corrupt("the list is not in order");
      before = entry.key;
      entry.key.erase(0, prefix.size());
      answer.entries.push_back(std::move(entry));
    }
    answer.has_more = page->is_truncated;
    if (answer.has_more && answer.entries.empty()) return corrupt("the list has an empty page");
    return answer;
  }

  Answer uploads() {
    auto page = uploads_in(http_.body);
    if (!page) return corrupt(page.error().message);
    Answer answer = done();
    const std::string& prefix = context_.endpoint.prefix;
    const auto is_inside = [&](const std::string& key) { return key.starts_with(prefix); };
    for (PendingUpload& upload : page->uploads) {
      if (!upload.key.starts_with(prefix + request_.key)) {
        return corrupt("the list has an upload without the prefix");
      }
      upload.key.erase(0, prefix.size());
      answer.uploads.push_back(std::move(upload));
    }
    answer.has_more = page->is_truncated;
    if (!answer.has_more) return answer;
    if (!is_inside(page->next_key))
      return corrupt("the list of uploads does not say how it goes on");
    answer.next_key = page->next_key.substr(prefix.size());
    answer.next_upload_id = std::move(page->next_upload_id);
    if (answer.next_key < request_.after ||
        (answer.next_key == request_.after && answer.next_upload_id == request_.upload_id)) {
      return corrupt("the list of uploads does not go on");
    }
    return answer;
  }

  Answer begun() {
    auto id = upload_id_in(http_.body);
    if (!id) return corrupt(id.error().message);
    Answer answer = done();
    answer.upload_id = std::move(*id);
    return answer;
  }

  /// Servers send status 200 at once, and what becomes of it in the body.
  Answer completed() {
    if (error_in(http_.body)) {
      Answer answer = server_error();
      if (answer.outcome == Outcome::kRefused && http_.status == 200) {
        answer.outcome = Outcome::kUnavailable;
        answer.may_have_happened = true;
      }
      return answer;
    }
    auto tag = completed_tag_in(http_.body);
    if (!tag) {
      return failed_answer(Outcome::kUnknown, fmt::format("{}: {}", what(), tag.error().message));
    }
    Answer answer = done();
    answer.tag = std::move(*tag);
    return answer;
  }

  const Request& request_;
  HttpAnswer& http_;
  const AnswerContext& context_;
};

}  // namespace

Answer answer_of(const Request& request, HttpAnswer http, const AnswerContext& context) {
  return AnswerMaker(request, http, context).make();
}

std::string error_code_of(const HttpAnswer& http) {
  if (http.status < 300) return {};
  const auto error = error_in(http.body);
  return error ? error->code : std::string();
}

}  // namespace lamina::object_store
