#include "remote/object_stream.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "remote/requests.h"

namespace lamina::remote {

using object_store::Answer;

ObjectStream::ObjectStream(object_store::ObjectStore& store, std::vector<StreamedObject> objects,
                           Progress* progress)
    : store_(store), blocking_(store, progress), objects_(std::move(objects)) {}

ObjectStream::~ObjectStream() {
  while (!ranges_.empty()) drop_first();
}

void ObjectStream::drop_first() {
  Range& range = *ranges_.front();
  if (!range.result) store_.cancel(range.id);
  ahead_bytes_ -= range.bytes.size();
  ranges_.pop_front();
}

void ObjectStream::fetch_ahead() {
  while (next_object_ < objects_.size() && (ranges_.empty() || ahead_bytes_ < kAheadBytes)) {
    const StreamedObject& object = objects_[next_object_];
    next_offset_ = std::max(next_offset_, object.begin);
    if (next_offset_ >= object.bytes) {
      ++next_object_;
      next_offset_ = 0;
      continue;
    }
    auto range = std::make_unique<Range>();
    range->object = next_object_;
    range->offset = next_offset_;
    range->bytes.resize(std::min(kRangeBytes, object.bytes - next_offset_));
    next_offset_ += range->bytes.size();
    ahead_bytes_ += range->bytes.size();
    object_store::Request request = get_request(object.key, range->bytes.size());
    request.range = {range->offset, range->bytes.size()};
    request.buffer = range->bytes;
    Range* const place = range.get();
    ranges_.push_back(std::move(range));
    place->id = store_.start(std::move(request), [this, place](const Answer& answer) {
      place->result = strict_status(answer);
      if (answer.ok()) fetched_bytes_ += place->bytes.size();
    });
  }
}

bool ObjectStream::is_before(const Range& range, std::size_t number, std::uint64_t offset) {
  return range.object < number || (range.object == number && range.end() <= offset);
}

Result<ObjectStream::Range*> ObjectStream::range_at(std::size_t number, std::uint64_t offset) {
  while (true) {
    fetch_ahead();
    if (ranges_.empty()) break;
    Range& first = *ranges_.front();
    if (!is_before(first, number, offset)) {
      if (first.object != number || offset < first.offset) break;
      LAMINA_RETURN_IF_ERROR(blocking_.wait_until([&] { return first.result.has_value(); }));
      LAMINA_RETURN_IF_ERROR(*first.result);
      return &first;
    }
    drop_first();
  }
  return fail(ErrorKind::kFailed, "object '{}' has no byte {} ahead",
              store_.name_of(objects_[number].key), offset);
}

Status ObjectStream::read(std::size_t number, std::uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    LAMINA_ASSIGN_OR_RETURN(const Range* range, range_at(number, offset));
    const auto there = std::span(range->bytes).subspan(offset - range->offset);
    const auto part = there.first(std::min(there.size(), into.size()));
    std::ranges::copy(part, into.begin());
    into = into.subspan(part.size());
    offset += part.size();
  }
  return {};
}

packed::Source ObjectStream::source_of(std::size_t number) {
  return [this, number](std::uint64_t offset, std::span<std::byte> into) {
    return read(number, offset, into);
  };
}

}  // namespace lamina::remote
