#include "object_store/upload_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace lamina::object_store {
namespace {

constexpr std::chrono::seconds kAbortDeadline{10};

}  // namespace

UploadWriter::UploadWriter(ObjectStore& store, std::string key, UploadOptions options)
    : blocking_(store, options.progress), store_(store), key_(std::move(key)), options_(options) {}

UploadWriter::~UploadWriter() { abort(); }

Request UploadWriter::request(Operation operation) const {
  Request request;
  request.operation = operation;
  request.key = key_;
  request.limits = options_.limits;
  request.upload_id = upload_id_;
  return request;
}

Status UploadWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (failure_) return std::unexpected(*failure_);
    // The last part is never sent before finish(): it must not be empty.
    const std::uint64_t limit = upload_id_.empty() ? kMaxSinglePutBytes : kPartBytes;
    if (buffer_.size() >= limit) {
      if (upload_id_.empty()) LAMINA_RETURN_IF_ERROR(begin());
      LAMINA_RETURN_IF_ERROR(send_part(kPartBytes));
      continue;
    }
    const auto piece = bytes.first(std::min<std::size_t>(bytes.size(), limit - buffer_.size()));
    buffer_.insert(buffer_.end(), piece.begin(), piece.end());
    size_bytes_ += piece.size();
    bytes = bytes.subspan(piece.size());
  }
  return {};
}

Status UploadWriter::begin() {
  const Answer answer = blocking_.run(request(Operation::kBeginUpload));
  LAMINA_RETURN_IF_ERROR(answer.status());
  upload_id_ = answer.upload_id;
  return {};
}

Status UploadWriter::send_part(std::size_t size) {
  if (next_number_ > kMaxParts) {
    return fail(ErrorKind::kUnsupported, "'{}' has more than {} parts of {} bytes",
                store_.name_of(key_), kMaxParts, kPartBytes);
  }
  LAMINA_RETURN_IF_ERROR(wait_for_parts(std::max<std::size_t>(options_.max_parallel, 1) - 1));
  const unsigned number = next_number_++;
  Part& part = sending_[number];
  const auto end = buffer_.begin() + static_cast<std::ptrdiff_t>(size);
  part.body.assign(buffer_.begin(), end);
  buffer_.erase(buffer_.begin(), end);
  Request one = request(Operation::kUploadPart);
  one.part_number = number;
  one.body = part.body;
  part.id = store_.start(std::move(one),
                         [this, number](const Answer& answer) { take_part(number, answer); });
  // Without this, nothing would be sent while the caller makes the next part.
  return store_.advance(std::chrono::milliseconds(0));
}

void UploadWriter::take_part(unsigned number, const Answer& answer) {
  sending_.erase(number);
  if (answer.ok()) {
    sent_.push_back(UploadedPart{.number = number, .tag = answer.tag});
  } else if (!failure_) {
    failure_ = answer.error;
  }
}

Status UploadWriter::wait_for_parts(std::size_t at_most) {
  LAMINA_RETURN_IF_ERROR(
      blocking_.wait_until([&] { return failure_ || sending_.size() <= at_most; }));
  if (failure_) return std::unexpected(*failure_);
  return {};
}

Result<std::uint64_t> UploadWriter::finish() {
  if (failure_) return std::unexpected(*failure_);
  if (upload_id_.empty()) {
    Request put = request(Operation::kPut);
    put.body = buffer_;
    LAMINA_RETURN_IF_ERROR(blocking_.run(std::move(put)).status());
    return size_bytes_;
  }
  while (buffer_.size() > kPartBytes) LAMINA_RETURN_IF_ERROR(send_part(kPartBytes));
  if (!buffer_.empty()) LAMINA_RETURN_IF_ERROR(send_part(buffer_.size()));
  LAMINA_RETURN_IF_ERROR(wait_for_parts(0));
  LAMINA_RETURN_IF_ERROR(complete());
  return size_bytes_;
}

Status UploadWriter::complete() {
  std::ranges::sort(sent_, {}, &UploadedPart::number);
  Request request = this->request(Operation::kCompleteUpload);
  request.parts = sent_;
  const Answer answer = blocking_.run(std::move(request));
  if (answer.outcome == Outcome::kUnknown) {
    // The name is this writer's alone: if the object is there, it is this one.
    const Answer head = blocking_.head(key_);
    if (!head.ok() || head.size_bytes != size_bytes_) return std::unexpected(answer.error);
  } else {
    LAMINA_RETURN_IF_ERROR(answer.status());
  }
  upload_id_.clear();
  return {};
}

void UploadWriter::abort() {
  for (const auto& [number, part] : sending_) store_.cancel(part.id);
  sending_.clear();
  if (upload_id_.empty()) return;
  Request request = this->request(Operation::kAbortUpload);
  request.limits.deadline = kAbortDeadline;
  // Not interruptible: the interruption may be why it is aborted. What cannot be removed costs
  // storage until the bucket's rules of life cycle remove it.
  static_cast<void>(BlockingStore(store_).run(std::move(request)));
}

}  // namespace lamina::object_store
