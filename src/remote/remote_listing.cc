#include "remote/remote_listing.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "base/error.h"
#include "remote/contents.h"
#include "store/snapshot_facts.h"

namespace lamina::remote {
namespace {

RemoteListing listing_of(const PublicPart& part) {
  const Record& record = part.record;
  RemoteListing listing;
  listing.name = record.place.name;
  listing.number = record.place.number;
  listing.pause_id = record.pause_id;
  if (!record.parent_pause_id.is_nil()) listing.parent_pause_id = record.parent_pause_id;
  listing.created = store::timestamp_of(record.created_s);
  listing.memory_bytes = record.memory_bytes;
  listing.objects = static_cast<std::uint32_t>(record.references.size());
  listing.stored_bytes = record.referenced_bytes();
  listing.encrypted = part.layout.seal != packed::SealAlgorithm::kNone;
  return listing;
}

RemoteListing unreadable(const ListedRecord& record, const Error& error) {
  RemoteListing listing;
  listing.name = record.place.name;
  listing.number = record.place.number;
  listing.error = error;
  return listing;
}

/// Lists records, a few at a time from the newest of each name on.
class Lister {
 public:
  Lister(object_store::ObjectStore& bucket, const RemoteListOptions& options)
      : store_(bucket, options.progress), options_(options) {}

  Result<RemoteListReport> run() {
    LAMINA_ASSIGN_OR_RETURN(RecordList list, list_all_records(store_));
    if (list.other_keys > 0) {
      report_.notes.push_back(fmt::format("{} keys below '{}' are not those of records",
                                          list.other_keys, store_.store().name_of(kRecordsPrefix)));
    }
    LAMINA_RETURN_IF_ERROR(options_.all ? add_all(list.records) : add_newest(list.records));
    return std::move(report_);
  }

 private:
  Status add_all(const std::vector<ListedRecord>& records) {
    const std::vector<Result<PublicPart>> parts = read_public_parts(store_, records);
    for (std::size_t i = 0; i < records.size(); ++i) add(records[i], parts[i]);
    return check_interruption();
  }

  /// True if the name of this record is dealt with: it is a state, or cannot be read.
  bool add(const ListedRecord& record, const Result<PublicPart>& part) {
    if (!part) {
      if (part.error().kind == ErrorKind::kNotFound) return false;
      report_.snapshots.push_back(unreadable(record, part.error()));
      return true;
    }
    if (part->record.is_manifest()) report_.snapshots.push_back(listing_of(*part));
    return part->record.is_state();
  }

  /// One round reads the newest record of each name; names whose newest one is a void go into the
  /// next round with the record before it.
  Status add_newest(std::vector<ListedRecord> records) {
    while (!records.empty()) {
      std::vector<ListedRecord> newest;
      std::vector<ListedRecord> others;
      for (std::size_t i = 0; i < records.size(); ++i) {
        const bool is_last =
            i + 1 == records.size() || records[i + 1].place.name != records[i].place.name;
        (is_last ? newest : others).push_back(records[i]);
      }
      const std::vector<Result<PublicPart>> parts = read_public_parts(store_, newest);
      std::set<std::string> done;
      for (std::size_t i = 0; i < newest.size(); ++i) {
        if (add(newest[i], parts[i])) done.insert(newest[i].place.name);
      }
      std::erase_if(others, [&](const ListedRecord& one) { return done.contains(one.place.name); });
      records = std::move(others);
      LAMINA_RETURN_IF_ERROR(check_interruption());
    }
    std::ranges::sort(report_.snapshots, {}, &RemoteListing::name);
    return {};
  }

  [[nodiscard]] Status check_interruption() const {
    if (options_.progress == nullptr || !options_.progress->interrupted()) return {};
    return fail(ErrorKind::kInterrupted, "interrupted");
  }

  Bucket store_;
  const RemoteListOptions& options_;
  RemoteListReport report_;
};

Result<RemoteUseReport> use_by(Bucket& store) {
  RemoteUseReport report;
  LAMINA_ASSIGN_OR_RETURN(const ObjectSizes objects, list_objects(store, report.other_keys));
  RecordReader records(store);
  LAMINA_ASSIGN_OR_RETURN(const References references, References::read(store, records));
  LAMINA_ASSIGN_OR_RETURN(const auto tombstones, list_tombstones(store, report.other_keys));
  report.pins = references.pins().size();
  report.tombstones = tombstones.size();
  for (const ListedRecord& record : references.records().list.records) {
    report.record_bytes += record.size_bytes;
  }
  for (const PublicPart* part : references.records().parts) {
    if (part != nullptr && part->record.is_manifest()) ++report.snapshots;
  }
  for (const auto& [key, bytes] : objects) {
    ++report.objects;
    report.object_bytes += bytes;
    if (!references.contains(key)) continue;
    ++report.referenced_objects;
    report.referenced_bytes += bytes;
  }
  return report;
}

}  // namespace

Result<RemoteListReport> list(object_store::ObjectStore& bucket, const RemoteListOptions& options) {
  return contain("list", [&] { return Lister(bucket, options).run(); });
}

Result<RemoteUseReport> use(object_store::ObjectStore& bucket, const RemoteUseOptions& options) {
  return contain("du", [&] {
    Bucket store(bucket, options.progress);
    return use_by(store);
  });
}

}  // namespace lamina::remote
