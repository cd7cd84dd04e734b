#include "remote/upload.h"

#include <chrono>
#include <utility>

#include "base/error.h"
#include "os/clock.h"
#include "remote/requests.h"

namespace lamina::remote {

using object_store::Answer;
using object_store::Operation;

Uploads::Uploads(object_store::ObjectStore& bucket, Progress* progress,
                 std::uint64_t bytes_per_second)
    : bucket_(bucket), progress_(progress), blocking_(bucket, progress), stop_(progress) {
  if (bytes_per_second == 0) return;
  // While it waits, transfers go on.
  const auto wait = [this](std::uint64_t deadline_ns) {
    const std::uint64_t now = os::monotonic_ns();
    if (now >= deadline_ns) return;
    const std::chrono::nanoseconds left(deadline_ns - now);
    const Status advanced = bucket_.advance(std::chrono::ceil<std::chrono::milliseconds>(left));
    if (!advanced) os::sleep_until(deadline_ns);  // the next request has the error
  };
  rate_.emplace(&stop_, bytes_per_second, operations::RateClock{os::monotonic_ns, wait});
}

Uploads::~Uploads() {
  for (const auto& object : objects_) {
    if (object->put) bucket_.cancel(*object->put);
  }
}

std::size_t Uploads::begin(std::string key) {
  auto object = std::make_unique<Object>();
  object->key = std::move(key);
  objects_.push_back(std::move(object));
  return objects_.size() - 1;
}

Status Uploads::write(std::span<const std::byte> bytes) {
  Object& object = *objects_.back();
  object.size_bytes += bytes.size();
  if (rate_) rate_->advance(bytes.size());
  if (!writer_ && object.body.size() + bytes.size() <= object_store::kMaxSinglePutBytes) {
    object.body.insert(object.body.end(), bytes.begin(), bytes.end());
    return {};
  }
  if (!writer_) {
    // Its parts take the memory that the others had.
    LAMINA_RETURN_IF_ERROR(blocking_.wait_until([&] { return bytes_on_the_way_ == 0; }));
    object_store::UploadOptions options;
    options.progress = progress_;
    writer_ = std::make_unique<object_store::UploadWriter>(bucket_, object.key, options);
    const std::vector<std::byte> body = std::exchange(object.body, {});
    LAMINA_RETURN_IF_ERROR(writer_->write(body));
  }
  return writer_->write(bytes);
}

Status Uploads::end() {
  Object& object = *objects_.back();
  object.is_ended = true;
  if (writer_) {
    const auto written = std::exchange(writer_, nullptr)->finish();
    if (!written) object.result = std::unexpected(written.error());
    return object.result;
  }
  LAMINA_RETURN_IF_ERROR(blocking_.wait_until([&] {
    return bytes_on_the_way_ == 0 || bytes_on_the_way_ + object.size_bytes <= kMaxBytesOnTheWay;
  }));
  start_put(object);
  return bucket_.advance(std::chrono::milliseconds(0));
}

void Uploads::drop() {
  writer_.reset();
  objects_.back()->body.clear();
  objects_.back()->is_ended = false;
}

void Uploads::start_put(Object& object) {
  object_store::Request request;
  request.operation = Operation::kPut;
  request.key = object.key;
  request.body = object.body;
  // An object whose PUT was not answered is uploaded again under another name (docs/remote.md,
  // "Requests without an answer").
  request.may_be_sent_again = false;
  bytes_on_the_way_ += object.size_bytes;
  object.put = bucket_.start(std::move(request), [this, &object](const Answer& answer) {
    object.put.reset();
    object.result = answer.status();
    object.body = {};
    bytes_on_the_way_ -= object.size_bytes;
  });
}

Status Uploads::check_size(const Object& object, const Answer& head) const {
  LAMINA_RETURN_IF_ERROR(strict_status(head));
  if (head.size_bytes == object.size_bytes) return {};
  return fail(ErrorKind::kCorrupt, "object '{}' has {} bytes, but {} were uploaded",
              bucket_.name_of(object.key), head.size_bytes, object.size_bytes);
}

std::vector<Status> Uploads::finish() {
  const Status waited = blocking_.wait_until([&] { return bytes_on_the_way_ == 0; });
  std::vector<Object*> written;
  std::vector<object_store::Request> heads;
  for (const auto& object : objects_) {
    if (!waited && object->put) object->result = waited;
    if (!object->is_ended || !object->result) continue;
    written.push_back(object.get());
    heads.push_back(head_request(object->key));
  }
  const std::vector<Answer> answers = run_all(blocking_, std::move(heads));
  for (std::size_t i = 0; i < written.size(); ++i) {
    written[i]->result = check_size(*written[i], answers[i]);
  }
  std::vector<Status> results;
  results.reserve(objects_.size());
  for (const auto& object : objects_) {
    results.push_back(object->is_ended ? object->result
                                       : fail(ErrorKind::kFailed, "it was not written"));
  }
  return results;
}

}  // namespace lamina::remote
