#include "remote/contents.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/escape.h"
#include "remote/requests.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::BlockingStore;
using object_store::Outcome;

/// How often a prefix is listed, until nothing of it is deleted between its list and its reads.
constexpr int kMaxLists = 8;

/// Keys that were listed, and do not exist by a read and a list of their own. They were deleted
/// meanwhile, or the list was damaged and had a key of another name in its place: then something
/// was missed. So the prefix is listed again; a key that comes again shows the damage.
class GoneKeys {
 public:
  explicit GoneKeys(Bucket& bucket) : bucket_(bucket) {}

  Status add(const std::string& key) {
    if (keys_.insert(key).second) return {};
    return with_remedy(
        fail(ErrorKind::kFailed,
             "'{}' is listed repeatedly, but does not exist; nothing is concluded from that",
             bucket_.store().name_of(key)),
        "try again");
  }
  [[nodiscard]] std::size_t size() const { return keys_.size(); }

  /// Calls `read` until it adds no key.
  template <typename Read>
  auto repeat(std::string_view prefix, const Read& read) -> decltype(read()) {
    for (int i = 0; i < kMaxLists; ++i) {
      const std::size_t before = size();
      auto found = read();
      if (!found || size() == before) return found;
    }
    return with_remedy(fail(ErrorKind::kFailed, "keys below '{}' vanish while they are read",
                            bucket_.store().name_of(prefix)),
                       "try again");
  }

 private:
  Bucket& bucket_;
  std::set<std::string> keys_;
};

Result<std::vector<ListedPin>> read_pins_once(Bucket& bucket, GoneKeys& gone) {
  LAMINA_ASSIGN_OR_RETURN(const Listing listing, list_from(bucket, std::string(kPinsPrefix)));
  std::vector<object_store::Request> gets;
  gets.reserve(listing.entries.size());
  for (const object_store::Entry& entry : listing.entries) {
    if (!parse_pin_key(entry.key)) {
      return fail(ErrorKind::kCorrupt, "key '{}' is not a pin's", escaped_value(entry.key));
    }
    gets.push_back(get_request(entry.key, kMaxPinBytes));
  }
  const std::vector<Answer> answers = run_all(bucket, std::move(gets));
  std::vector<ListedPin> pins;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const object_store::Entry& entry = listing.entries[i];
    if (answers[i].outcome == Outcome::kAbsent) {
      const Error absence = bucket.absence_of(entry.key);
      if (absence.kind != ErrorKind::kNotFound) return std::unexpected(absence);
      LAMINA_RETURN_IF_ERROR(gone.add(entry.key));
      continue;
    }
    LAMINA_RETURN_IF_ERROR(strict_status(answers[i]));
    ListedPin listed;
    LAMINA_ASSIGN_OR_RETURN(listed.pin, decode_pin(answers[i].bytes, *parse_pin_key(entry.key)));
    LAMINA_RETURN_IF_ERROR(bucket.check(listed.pin.bucket_id, entry.key));
    if (listing.server_time) listed.age = *listing.server_time - entry.modified;
    pins.push_back(std::move(listed));
  }
  return pins;
}

}  // namespace

Result<ObjectSizes> list_objects(BlockingStore& store, std::uint64_t& other_keys) {
  ObjectSizes objects;
  for (const std::string_view prefix : {kLayersPrefix, kPacksPrefix, kFilesPrefix}) {
    LAMINA_ASSIGN_OR_RETURN(const Listing listing, list_from(store, std::string(prefix)));
    for (const object_store::Entry& entry : listing.entries) {
      if (parse_object_key(entry.key)) {
        objects.emplace(entry.key, entry.size_bytes);
      } else {
        ++other_keys;
      }
    }
  }
  return objects;
}

Result<std::vector<ListedPin>> read_pins(Bucket& bucket) {
  GoneKeys gone(bucket);
  return gone.repeat(kPinsPrefix, [&] { return read_pins_once(bucket, gone); });
}

Result<std::multimap<std::string, std::string>> list_tombstones(BlockingStore& store,
                                                                std::uint64_t& other_keys) {
  LAMINA_ASSIGN_OR_RETURN(const Listing listing, list_from(store, std::string(kTombstonesPrefix)));
  std::multimap<std::string, std::string> tombstones;
  for (const object_store::Entry& entry : listing.entries) {
    const auto object = parse_tombstone_key(entry.key);
    if (object) {
      tombstones.emplace(*object, entry.key);
    } else {
      ++other_keys;
    }
  }
  return tombstones;
}

Result<RecordReader::Read> RecordReader::read_all() {
  GoneKeys gone(bucket_);
  return gone.repeat(kRecordsPrefix, [&]() -> Result<Read> {
    std::vector<RecordPlace> missing;
    LAMINA_ASSIGN_OR_RETURN(Read read, read_once(missing));
    for (const RecordPlace& place : missing) LAMINA_RETURN_IF_ERROR(gone.add(record_key(place)));
    return read;
  });
}

Result<RecordReader::Read> RecordReader::read_once(std::vector<RecordPlace>& missing) {
  Read read;
  LAMINA_ASSIGN_OR_RETURN(read.list, list_all_records(bucket_));
  if (read.list.other_keys > 0) {
    return fail(ErrorKind::kCorrupt, "{} keys below '{}' are not those of records",
                read.list.other_keys, bucket_.store().name_of(kRecordsPrefix));
  }
  std::vector<ListedRecord> unknown;
  for (const ListedRecord& record : read.list.records) {
    if (!known_.contains(record.place)) unknown.push_back(record);
  }
  std::vector<Result<PublicPart>> parts = read_public_parts(bucket_, unknown);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i]) {
      known_.emplace(unknown[i].place, std::move(*parts[i]));
    } else if (parts[i].error().kind == ErrorKind::kNotFound) {
      missing.push_back(unknown[i].place);
    } else {
      return std::unexpected(parts[i].error());
    }
  }
  for (const ListedRecord& record : read.list.records) {
    const auto found = known_.find(record.place);
    read.parts.push_back(found == known_.end() ? nullptr : &found->second);
  }
  return read;
}

Result<References> References::read(Bucket& bucket, RecordReader& records) {
  References references;
  LAMINA_ASSIGN_OR_RETURN(references.pins_, read_pins(bucket));
  LAMINA_ASSIGN_OR_RETURN(references.records_, records.read_all());
  references.keep_only([](const Record&) { return true; }, [](const ListedPin&) { return true; });
  return references;
}

void References::keep_only(const std::function<bool(const Record&)>& keeps_record,
                           const std::function<bool(const ListedPin&)>& keeps_pin) {
  pushes_.clear();
  objects_.clear();
  for (const ListedPin& listed : pins_) {
    if (!keeps_pin(listed)) continue;
    pushes_.insert(listed.pin.push_id);
    objects_.insert(listed.pin.reused.begin(), listed.pin.reused.end());
  }
  for (const PublicPart* part : records_.parts) {
    if (part == nullptr || !keeps_record(part->record)) continue;
    for (const Reference& reference : part->record.references) objects_.insert(reference.key);
  }
}

bool References::contains(const std::string& object) const {
  if (objects_.contains(object)) return true;
  const auto name = parse_object_key(object);
  return name && pushes_.contains(name->push_id);
}

}  // namespace lamina::remote
