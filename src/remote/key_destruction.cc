// The keys of objects are in the keyrings of manifests, and nowhere else. So a tenant's key is
// destroyed by the two operations that remove manifests: names whose newest state has it are
// removed, older states that have it are deleted below a newer one. Then everything is read once
// more: a push may have published another one meanwhile.
#include "remote/key_destruction.h"

#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "base/error.h"
#include "remote/contents.h"
#include "remote/key_use.h"
#include "remote/removal.h"
#include "remote/requests.h"

namespace lamina::remote {
namespace {

/// Until no record with the key is left.
constexpr int kDestructionRounds = 4;

class Destruction {
 public:
  Destruction(object_store::ObjectStore& bucket, const DestroyKeyOptions& options)
      : bucket_(bucket), options_(options), store_(bucket, options.progress) {}

  Result<DestroyKeyReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    report_.key_id = options_.key_id;
    if (options_.key_id.empty()) {
      return with_remedy(fail(ErrorKind::kUsage, "no key id is given"),
                         "run: lamina remote keys ls");
    }
    LAMINA_ASSIGN_OR_RETURN(std::vector<KeyedRecord> records, read_all());
    if (!has_key(records)) {
      return with_remedy(fail(ErrorKind::kNotFound, "'{}' has no record with the key {}",
                              bucket_.name_of(""), options_.key_id),
                         "run: lamina remote keys ls");
    }
    count_objects(records);
    LAMINA_RETURN_IF_ERROR(count_pins());
    if (options_.dry_run) return destroy(records);
    for (int round = 0; round < kDestructionRounds && has_key(records); ++round) {
      LAMINA_RETURN_IF_ERROR(destroy(records));
      LAMINA_ASSIGN_OR_RETURN(records, read_all());
    }
    if (!has_key(records)) return {};
    return with_remedy(fail(ErrorKind::kBusy, "pushes with the key {} go on: there are new records",
                            options_.key_id),
                       "take the key from the hosts that push, and try again");
  }

  [[nodiscard]] bool is_of_key(const KeyedRecord& record) const {
    return record.key_name == options_.key_id;
  }
  [[nodiscard]] bool has_key(std::span<const KeyedRecord> records) const {
    for (const KeyedRecord& record : records) {
      if (is_of_key(record)) return true;
    }
    return false;
  }

  /// All records, by name and number. One that cannot be read may have the key.
  Result<std::vector<KeyedRecord>> read_all() {
    LAMINA_ASSIGN_OR_RETURN(const RecordList list, list_all_records(store_));
    std::vector<KeyedRecord> records;
    records.reserve(list.records.size());
    for (auto& read : read_keyed_records(store_, list.records)) {
      if (read) {
        records.push_back(std::move(*read));
      } else if (read.error().kind != ErrorKind::kNotFound) {
        return std::unexpected(
            with_context("it is not known which key a record has", std::move(read.error())));
      }
    }
    return records;
  }

  /// Objects whose keys are lost: those of states that go, unless another state has their keys too.
  void count_objects(const std::vector<KeyedRecord>& records) {
    std::set<std::string> lost_names;
    for (const auto& same_name : by_name(records)) {
      const std::size_t newest = place_of_newest(same_name);
      if (newest < same_name.size() && is_of_key(same_name[newest])) {
        lost_names.insert(name_of(same_name.front()));
      }
    }
    const auto goes = [&](const KeyedRecord& record) {
      return is_of_key(record) || lost_names.contains(name_of(record));
    };
    std::set<std::string> kept;
    for (const KeyedRecord& record : records) {
      if (goes(record)) continue;
      for (const Reference& reference : record.record().references) kept.insert(reference.key);
    }
    for (const KeyedRecord& record : records) {
      if (!goes(record)) continue;
      for (const Reference& reference : record.record().references) {
        if (!kept.insert(reference.key).second) continue;
        ++report_.lost_objects;
        report_.lost_bytes += reference.size_bytes;
      }
    }
  }

  Status count_pins() {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<ListedPin> pins, read_pins(store_));
    report_.pins = pins.size();
    if (pins.empty()) return {};
    report_.notes.push_back(
        fmt::format("{} pins: pushes may be under way, and publish with this key when this has "
                    "ended; look with 'lamina remote keys ls'",
                    pins.size()));
    return {};
  }

  Status destroy(const std::vector<KeyedRecord>& records) {
    if (options_.progress != nullptr) options_.progress->begin("destroying", records.size());
    for (const auto same_name : by_name(records)) {
      if (has_key(same_name)) LAMINA_RETURN_IF_ERROR(destroy_in(same_name));
      if (options_.progress != nullptr) options_.progress->advance(same_name.size());
    }
    return {};
  }

  static std::vector<std::span<const KeyedRecord>> by_name(
      const std::vector<KeyedRecord>& records) {
    std::vector<std::span<const KeyedRecord>> names;
    std::size_t begin = 0;
    for (std::size_t i = 1; i <= records.size(); ++i) {
      if (i < records.size() && name_of(records[i]) == name_of(records[begin])) continue;
      names.push_back(std::span(records).subspan(begin, i - begin));
      begin = i;
    }
    return names;
  }

  static const std::string& name_of(const KeyedRecord& record) {
    return record.record().place.name;
  }

  /// REQUIRES: records of one name, of which one has the key.
  Status destroy_in(std::span<const KeyedRecord> records) {
    const std::size_t newest = place_of_newest(records);
    if (newest < records.size() && is_of_key(records[newest])) {
      return remove_whole(name_of(records[newest]), records[newest].record().place.number, records);
    }
    for (const KeyedRecord& record : records.first(newest)) {
      if (!is_of_key(record)) continue;
      ++report_.removed_states;
      if (options_.dry_run) continue;
      const auto answer = store_.remove(record_key(record.record().place));
      if (answer.outcome != object_store::Outcome::kAbsent) {
        LAMINA_RETURN_IF_ERROR(strict_status(answer));
      }
    }
    return {};
  }

  Status remove_whole(const std::string& name, std::uint64_t number,
                      std::span<const KeyedRecord> records) {
    RemoteRemoveOptions removal;
    removal.name = name;
    removal.dry_run = options_.dry_run;
    removal.progress = options_.progress;
    auto removed = remove_name(bucket_, removal, number);
    if (!removed) {
      // It was changed meanwhile: the next round looks again.
      const ErrorKind kind = removed.error().kind;
      if (kind == ErrorKind::kBusy || kind == ErrorKind::kNotFound) return {};
      return std::unexpected(removed.error());
    }
    report_.lost_names.push_back(name);
    for (const KeyedRecord& record : records) {
      if (record.record().is_manifest()) ++report_.removed_states;
    }
    for (std::string& note : removed->notes) report_.notes.push_back(std::move(note));
    return {};
  }

  object_store::ObjectStore& bucket_;
  const DestroyKeyOptions& options_;
  Bucket store_;
  DestroyKeyReport report_;
};

}  // namespace

Result<DestroyKeyReport> destroy_key(object_store::ObjectStore& bucket,
                                     const DestroyKeyOptions& options) {
  return contain("destroy", [&] { return Destruction(bucket, options).run(); });
}

}  // namespace lamina::remote
