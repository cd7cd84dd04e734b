#include "remote/catalogue.h"

#include <algorithm>
#include <ranges>
#include <utility>

#include "base/error.h"
#include "remote/requests.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::BlockingStore;

/// Most public parts are not longer.
constexpr std::uint64_t kFirstBytes = std::uint64_t{8} << 10;

Result<RecordList> record_list(Result<Listing> listing) {
  if (!listing) return std::unexpected(listing.error());
  RecordList list;
  list.server_time = listing->server_time;
  for (const object_store::Entry& entry : listing->entries) {
    const auto place = parse_record_key(entry.key);
    if (place) {
      list.records.push_back({*place, entry.size_bytes, entry.modified});
    } else {
      ++list.other_keys;
    }
  }
  return list;
}

object_store::Request beginning_of(const ListedRecord& record, std::uint64_t bytes) {
  object_store::Request request = get_request(record_key(record.place), bytes);
  request.range = {0, std::min(bytes, record.size_bytes)};
  return request;
}

/// The part, if the bucket is its own. A record is gone only if a list says so too.
Result<PublicPart> checked(Bucket& bucket, Result<PublicPart> part, const RecordPlace& place) {
  if (!part && part.error().kind == ErrorKind::kNotFound) {
    return std::unexpected(bucket.absence_of(record_key(place)));
  }
  if (!part) return part;
  LAMINA_RETURN_IF_ERROR(bucket.check(part->record.bucket_id, record_key(part->record.place)));
  return part;
}

/// The public part, or nullopt if it is longer than `bytes`.
Result<std::optional<PublicPart>> decode_beginning(const Answer& answer, const ListedRecord& record,
                                                   std::uint64_t& wanted_bytes) {
  LAMINA_RETURN_IF_ERROR(strict_status(answer));
  const auto length = public_bytes_of(
      std::span(answer.bytes).first(std::min(answer.bytes.size(), kRecordPrefixBytes)));
  if (!length) {
    return std::unexpected(
        with_context(fmt::format("record '{}'", record_key(record.place)), length.error()));
  }
  wanted_bytes = *length;
  if (*length > answer.bytes.size() && *length <= record.size_bytes) return std::nullopt;
  LAMINA_ASSIGN_OR_RETURN(PublicPart part, decode_public_part(answer.bytes, record.place));
  return part;
}

Result<PublicPart> read_long_part(BlockingStore& store, const ListedRecord& record,
                                  std::uint64_t bytes) {
  const Answer answer = store.run(beginning_of(record, bytes));
  LAMINA_RETURN_IF_ERROR(strict_status(answer));
  return decode_public_part(answer.bytes, record.place);
}

/// The record in an answer that has all of it. kCorrupt: it is damaged, or another bucket's.
Result<ReadRecord> decode_answer(Bucket& bucket, Answer answer, const RecordPlace& place) {
  ReadRecord read;
  const Status status = strict_status(answer);
  Result<PublicPart> part = std::unexpected(Error{});
  if (status) {
    part = decode_record(answer.bytes, place);
    read.bytes = std::move(answer.bytes);
  } else {
    part = std::unexpected(status.error());
  }
  LAMINA_ASSIGN_OR_RETURN(read.part, checked(bucket, std::move(part), place));
  return read;
}

}  // namespace

Result<RecordList> list_records(BlockingStore& store, const std::string& name,
                                std::uint64_t after) {
  const std::string behind = after == 0 ? "" : record_key({name, after});
  return record_list(list_from(store, record_prefix(name), behind));
}

Result<RecordList> list_all_records(BlockingStore& store) {
  return record_list(list_from(store, std::string(kRecordsPrefix)));
}

std::vector<Result<PublicPart>> read_public_parts(Bucket& bucket,
                                                  const std::vector<ListedRecord>& records) {
  std::vector<object_store::Request> requests;
  requests.reserve(records.size());
  for (const ListedRecord& record : records) {
    requests.push_back(record.size_bytes > 0 ? beginning_of(record, kFirstBytes)
                                             : get_request(record_key(record.place), kFirstBytes));
  }
  const std::vector<Answer> answers = run_all(bucket, std::move(requests));
  std::vector<Result<PublicPart>> parts;
  parts.reserve(records.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    std::uint64_t wanted_bytes = 0;
    auto decoded = decode_beginning(answers[i], records[i], wanted_bytes);
    Result<PublicPart> part = std::unexpected(Error{});
    if (!decoded) {
      part = std::unexpected(std::move(decoded.error()));
    } else if (*decoded) {
      part = std::move(**decoded);
    } else {
      part = read_long_part(bucket, records[i], wanted_bytes);
    }
    parts.push_back(checked(bucket, std::move(part), records[i].place));
  }
  return parts;
}

Result<ReadRecord> read_and_decode(Bucket& bucket, const RecordPlace& place) {
  return decode_answer(bucket, bucket.get(record_key(place), kMaxRecordBytes), place);
}

RecordRead::RecordRead(Bucket& bucket, RecordPlace place)
    : bucket_(bucket), place_(std::move(place)) {
  request_ = bucket_.store().start(get_request(record_key(place_), kMaxRecordBytes),
                                   [this](Answer answer) { answer_ = std::move(answer); });
}

RecordRead::~RecordRead() {
  if (!answer_) bucket_.store().cancel(request_);
}

Result<ReadRecord> RecordRead::finish() {
  LAMINA_RETURN_IF_ERROR(bucket_.wait_until([this] { return answer_.has_value(); }));
  return decode_answer(bucket_, std::move(*answer_), place_);
}

Result<std::optional<ReadRecord>> newest_state(Bucket& bucket,
                                               const std::vector<ListedRecord>& records) {
  for (const ListedRecord& record : std::views::reverse(records)) {
    auto read = read_and_decode(bucket, record.place);
    if (!read) {
      if (read.error().kind == ErrorKind::kNotFound) continue;
      return std::unexpected(read.error());
    }
    if (read->record().is_state()) return std::optional(std::move(*read));
  }
  return std::nullopt;
}

}  // namespace lamina::remote
