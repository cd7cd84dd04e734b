// Answers of an S3 server: whatever they say, only a 404 of NoSuchKey is an absent object, a done
// request has what it asked for, and a message acts on no terminal.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/escape.h"
#include "check.h"
#include "object_store/encoding.h"
#include "object_store/s3_answer.h"
#include "object_store/s3_xml.h"

namespace {

using namespace lamina;
using lamina::fuzz::check;

constexpr std::array<int, 16> kStatuses = {200, 204, 206, 301, 400, 401, 403, 404,
                                           409, 412, 416, 429, 500, 501, 503, 0};
constexpr std::array<object_store::Operation, 9> kOperations = {
    object_store::Operation::kGet,        object_store::Operation::kPut,
    object_store::Operation::kHead,       object_store::Operation::kRemove,
    object_store::Operation::kList,       object_store::Operation::kBeginUpload,
    object_store::Operation::kUploadPart, object_store::Operation::kCompleteUpload,
    object_store::Operation::kAbortUpload};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  object_store::Request request;
  request.operation = kOperations.at(data[0] % kOperations.size());
  request.key = "k";
  const std::span<const std::byte> body(reinterpret_cast<const std::byte*>(data + 3), size - 3);
  if ((data[2] & 1U) != 0) request.range = object_store::ByteRange{.offset = 0, .length = 4};
  object_store::HttpAnswer http;
  http.status = kStatuses.at(data[1] % kStatuses.size());
  http.failure =
      (data[2] & 2U) != 0 ? object_store::HttpFailure::kBroken : object_store::HttpFailure::kNone;
  http.was_sent = (data[2] & 4U) != 0;
  http.body.assign(body.begin(), body.end());
  http.body_bytes = body.size();
  http.headers["content-range"] = "bytes 0-3/9";
  http.headers["content-length"] = "9";
  static const object_store::S3Endpoint endpoint =
      *object_store::endpoint_of({.bucket = "bkt", .endpoint = "http://h"});
  static const object_store::Credentials keys{.access_key = "AK", .secret_key = "SK"};
  const int status = http.status;
  const object_store::Answer answer =
      object_store::answer_of(request, http, {.endpoint = endpoint, .credentials = keys});
  const auto error = object_store::error_in(body);
  if (answer.outcome == object_store::Outcome::kAbsent) {
    check(error && error->code == "NoSuchKey");
    check(status >= 300 && request.operation == object_store::Operation::kGet);
  }
  if (answer.outcome == object_store::Outcome::kUnknown) check(answer.may_have_happened);
  if (!answer.ok()) {
    check(!answer.error.message.empty());
    check(escaped_line(answer.error.message) == answer.error.message);
    return 0;
  }
  if (request.operation == object_store::Operation::kGet) {
    check(answer.bytes.size() == body.size());
    check(!request.range || body.size() == 4);
  }
  std::string before;
  for (const object_store::Entry& entry : answer.entries) {
    check(entry.key.starts_with("k") && entry.key > before);
    before = entry.key;
  }
  return 0;
}
