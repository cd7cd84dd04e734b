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

}  // namespace

Result<RecordList> list_records(BlockingStore& store, const std::string& name,
                                std::uint64_t after) {
  const std::string behind = after == 0 ? "" : record_key({name, after});
  return record_list(list_from(store, record_prefix(name), behind));
}

Result<RecordList> list_all_records(BlockingStore& store) {
  return record_list(list_from(store, std::string(kRecordsPrefix)));
}

Result<std::vector<std::byte>> read_record(BlockingStore& store, const RecordPlace& place) {
  Answer answer = store.get(record_key(place), kMaxRecordBytes);
  LAMINA_RETURN_IF_ERROR(strict_status(answer));
  return std::move(answer.bytes);
}

std::vector<Result<PublicPart>> read_public_parts(BlockingStore& store,
                                                  const std::vector<ListedRecord>& records) {
  std::vector<object_store::Request> requests;
  requests.reserve(records.size());
  for (const ListedRecord& record : records) {
    requests.push_back(record.size_bytes > 0 ? beginning_of(record, kFirstBytes)
                                             : get_request(record_key(record.place), kFirstBytes));
  }
  const std::vector<Answer> answers = run_all(store, std::move(requests));
  std::vector<Result<PublicPart>> parts;
  parts.reserve(records.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    std::uint64_t wanted_bytes = 0;
    auto decoded = decode_beginning(answers[i], records[i], wanted_bytes);
    if (!decoded) {
      parts.emplace_back(std::unexpected(decoded.error()));
    } else if (*decoded) {
      parts.emplace_back(std::move(**decoded));
    } else {
      parts.push_back(read_long_part(store, records[i], wanted_bytes));
    }
  }
  return parts;
}

Result<ReadRecord> read_and_decode(BlockingStore& store, const RecordPlace& place) {
  ReadRecord read;
  LAMINA_ASSIGN_OR_RETURN(read.bytes, read_record(store, place));
  LAMINA_ASSIGN_OR_RETURN(read.part, decode_record(read.bytes, place));
  return read;
}

Result<std::optional<ReadRecord>> newest_state(BlockingStore& store,
                                               const std::vector<ListedRecord>& records) {
  for (const ListedRecord& record : std::views::reverse(records)) {
    auto read = read_and_decode(store, record.place);
    if (!read) {
      if (read.error().kind == ErrorKind::kNotFound) continue;
      return std::unexpected(read.error());
    }
    if (read->record().is_state()) return std::optional(std::move(*read));
  }
  return std::nullopt;
}

}  // namespace lamina::remote
