#include "remote/collect.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "base/error.h"
#include "os/clock.h"
#include "remote/contents.h"
#include "remote/pending_uploads.h"
#include "remote/requests.h"
#include "remote/retention.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::BlockingStore;
using object_store::Outcome;

/// How often an object that was deleted is asked for, until it is known to be gone.
constexpr int kGoneAttempts = 5;

/// The records of one name, in order.
struct NameRecords {
  std::string name;
  std::vector<const ListedRecord*> listed;
  std::vector<const PublicPart*> parts;  ///< null: it was gone
};

std::vector<NameRecords> by_name(const RecordReader::Read& read) {
  std::vector<NameRecords> names;
  for (std::size_t i = 0; i < read.parts.size(); ++i) {
    const ListedRecord& listed = read.list.records[i];
    if (names.empty() || names.back().name != listed.place.name) {
      names.push_back({listed.place.name, {}, {}});
    }
    names.back().listed.push_back(&listed);
    names.back().parts.push_back(read.parts[i]);
  }
  return names;
}

/// The numbers of records below the newest state that are not needed: all below a removal, voids,
/// and manifests that the rules do not keep. A removal stays while anything that stays is below it.
std::vector<std::uint64_t> unneeded_records(const NameRecords& records, const RetentionRules& rules,
                                            std::chrono::sys_seconds now) {
  std::uint64_t newest = 0;
  std::uint64_t newest_removal = 0;
  for (const PublicPart* part : records.parts) {
    if (part == nullptr || !part->record.is_state()) continue;
    newest = part->record.place.number;
    if (part->record.kind == RecordKind::kRemoval) newest_removal = newest;
  }
  std::vector<DatedState> states;
  std::vector<std::uint64_t> unneeded;
  for (std::size_t i = 0; i < records.parts.size(); ++i) {
    const PublicPart* part = records.parts[i];
    if (part == nullptr || part->record.place.number > newest) continue;
    const std::uint64_t number = part->record.place.number;
    if (number < newest_removal || (number < newest && part->record.kind == RecordKind::kVoid)) {
      unneeded.push_back(number);
    } else if (part->record.is_manifest()) {
      states.push_back({number, records.listed[i]->modified});
    }
  }
  for (const std::uint64_t number : states_to_drop(states, rules, now)) unneeded.push_back(number);
  // A removal below the newest state: everything below it goes first, because the lowest goes
  // first.
  if (newest_removal != 0 && newest_removal < newest) unneeded.push_back(newest_removal);
  std::ranges::sort(unneeded);
  return unneeded;
}

class Prune {
 public:
  Prune(object_store::ObjectStore& bucket, const PruneOptions& options,
        const CollectSettings& settings)
      : bucket_(bucket),
        options_(options),
        settings_(settings),
        store_(bucket, options.progress),
        final_(store_.uninterruptible()),
        records_(store_) {}

  Result<PruneReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_RETURN_IF_ERROR(retain());
    LAMINA_RETURN_IF_ERROR(expire_pins());
    // Before the pins are read: see abandoned_uploads().
    ListedUploads uploads;
    if (auto listed = list_uploads(store_)) {
      uploads = std::move(*listed);
    } else {
      uploads.refusal = one_line(listed.error());
    }
    LAMINA_ASSIGN_OR_RETURN(objects_, list_objects(store_, other_keys_));
    LAMINA_ASSIGN_OR_RETURN(References first, References::read(store_, records_));
    if (options_.dry_run) {
      // What would be gone by now references nothing.
      first.keep_only([&](const Record& record) { return !dropped_.contains(record.place); },
                      [&](const ListedPin& listed) { return !is_expired(listed); });
    }
    std::vector<std::string> unneeded;
    for (const auto& [key, bytes] : objects_) {
      if (!first.contains(key)) unneeded.push_back(key);
    }
    report_.kept_objects = objects_.size() - unneeded.size();
    if (options_.dry_run) {
      for (const std::string& key : unneeded) count_removed(key);
    } else {
      LAMINA_RETURN_IF_ERROR(collect(unneeded));
      LAMINA_RETURN_IF_ERROR(drop_tombstones_of_others());
    }
    abort_uploads(uploads, first);
    if (other_keys_ > 0) {
      report_.notes.push_back(fmt::format("{} keys below '{}' are not lamina's, and stay",
                                          other_keys_, bucket_.name_of("v1/")));
    }
    return {};
  }

  [[nodiscard]] RetentionRules rules_for(const std::string& name) const {
    if (!matches_pattern(name, options_.pattern)) return {};
    return {options_.keep_last, options_.keep_daily, options_.keep_within};
  }

  /// Retention, and step 8 of a cycle.
  Status retain() {
    LAMINA_ASSIGN_OR_RETURN(const RecordReader::Read read, records_.read_all());
    for (const NameRecords& records : by_name(read)) {
      for (const PublicPart* part : records.parts) {
        if (part != nullptr && part->record.is_manifest()) ++report_.kept_snapshots;
      }
      const auto now = read.list.server_time.value_or(
          std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()));
      for (const std::uint64_t number : unneeded_records(records, rules_for(records.name), now)) {
        LAMINA_RETURN_IF_ERROR(drop_record(records, number));
      }
    }
    return {};
  }

  Status drop_record(const NameRecords& records, std::uint64_t number) {
    const RecordPlace place{records.name, number};
    const auto is_it = [&](const PublicPart* part) {
      return part != nullptr && part->record.place.number == number;
    };
    const auto part = std::ranges::find_if(records.parts, is_it);
    if ((*part)->record.is_manifest()) --report_.kept_snapshots;
    ++report_.removed_records;
    dropped_.insert(place);
    return options_.dry_run ? Status() : remove(record_key(place));
  }

  /// Deletes an object that may be gone already.
  Status remove(const std::string& key) { return remove_by(store_, key); }
  static Status remove_by(BlockingStore& store, const std::string& key) {
    const Answer answer = store.remove(key);
    return answer.outcome == Outcome::kAbsent ? Status() : strict_status(answer);
  }

  [[nodiscard]] bool is_expired(const ListedPin& listed) const {
    return listed.age && *listed.age > settings_.pin_lifetime;
  }

  /// Step 1.
  Status expire_pins() {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<ListedPin> pins, read_pins(store_));
    for (const ListedPin& listed : pins) {
      if (!is_expired(listed)) continue;
      ++report_.expired_pins;
      if (options_.dry_run) continue;
      LAMINA_RETURN_IF_ERROR(put_void(listed.pin.place));
      LAMINA_RETURN_IF_ERROR(remove(pin_key(listed.pin.push_id)));
    }
    return {};
  }

  Status put_void(const RecordPlace& place) {
    Record record;
    record.kind = RecordKind::kVoid;
    LAMINA_ASSIGN_OR_RETURN(record.bucket_id, store_.id());
    record.nonce = Uuid::random();
    record.place = place;
    record.created_s = os::unix_seconds();
    const Answer answer =
        store_.put(record_key(place), encode_record(record, packed::SealAlgorithm::kNone, {}, {}),
                   object_store::Condition::kIfAbsent);
    return answer.outcome == Outcome::kExists ? Status() : strict_status(answer);
  }

  void count_removed(const std::string& key) {
    ++report_.removed_objects;
    report_.removed_bytes += objects_.at(key);
  }

  /// Steps 2 to 6.
  Status collect(const std::vector<std::string>& unneeded) {
    if (unneeded.empty()) return {};
    std::vector<std::string> marked;
    std::vector<object_store::Request> puts;
    for (const std::string& key : unneeded) {
      object_store::Request put;
      put.operation = object_store::Operation::kPut;
      put.key = tombstone_key(key, cycle_id_);
      put.body = kTombstoneText;
      puts.push_back(std::move(put));
    }
    const std::vector<Answer> answers = run_all(store_, std::move(puts));
    for (std::size_t i = 0; i < answers.size(); ++i) {
      // Without an answer, the object is left for the next cycle, and the tombstone too.
      if (answers[i].ok()) marked.push_back(unneeded[i]);
    }
    LAMINA_ASSIGN_OR_RETURN(const References second, References::read(store_, records_));
    if (options_.progress != nullptr) options_.progress->begin("pruning", bytes_of(marked));
    for (const std::string& key : marked) {
      if (options_.progress != nullptr && options_.progress->interrupted()) {
        return fail(ErrorKind::kInterrupted, "interrupted; the next prune goes on");
      }
      LAMINA_RETURN_IF_ERROR(second.contains(key) ? withdraw(key) : delete_object(key));
    }
    return {};
  }

  [[nodiscard]] std::uint64_t bytes_of(const std::vector<std::string>& keys) const {
    std::uint64_t bytes = 0;
    for (const std::string& key : keys) bytes += objects_.at(key);
    return bytes;
  }

  Status withdraw(const std::string& key) {
    ++report_.kept_objects;
    return remove(tombstone_key(key, cycle_id_));
  }

  /// The tombstone goes only when the object is known to be gone.
  Status delete_object(const std::string& key) {
    for (int attempt = 0; attempt < kGoneAttempts; ++attempt) {
      LAMINA_RETURN_IF_ERROR(remove_by(final_, key));
      const Answer head = final_.head(key);
      if (head.outcome == Outcome::kAbsent) {
        count_removed(key);
        if (options_.progress != nullptr) options_.progress->advance(objects_.at(key));
        return remove(tombstone_key(key, cycle_id_));
      }
      LAMINA_RETURN_IF_ERROR(strict_status(head));
    }
    return fail(ErrorKind::kFailed, "object '{}' was deleted {} times, and is still there",
                bucket_.name_of(key), kGoneAttempts);
  }

  /// Step 7.
  Status drop_tombstones_of_others() {
    LAMINA_ASSIGN_OR_RETURN(const auto tombstones, list_tombstones(store_, other_keys_));
    std::vector<object_store::Request> heads;
    for (const auto& [object, tombstone] : tombstones) heads.push_back(head_request(object));
    const std::vector<Answer> answers = run_all(store_, std::move(heads));
    std::size_t i = 0;
    for (const auto& [object, tombstone] : tombstones) {
      const Answer& answer = answers[i++];
      if (answer.outcome != Outcome::kAbsent) {
        LAMINA_RETURN_IF_ERROR(strict_status(answer));
        continue;
      }
      const Error absence = store_.absence_of(object);
      if (absence.kind != ErrorKind::kNotFound) return std::unexpected(absence);
      LAMINA_RETURN_IF_ERROR(remove(tombstone));
    }
    return {};
  }

  /// Step 9.
  void abort_uploads(const ListedUploads& listed, const References& references) {
    if (!listed.refusal.empty()) {
      report_.notes.push_back(
          fmt::format("uploads that nobody completes are not looked for: {}", listed.refusal));
    }
    const auto abandoned = abandoned_uploads(listed, references, settings_.pin_lifetime);
    if (options_.dry_run) {
      report_.aborted_uploads = abandoned.size();
      return;
    }
    std::vector<object_store::Request> aborts;
    aborts.reserve(abandoned.size());
    for (const object_store::PendingUpload& upload : abandoned) {
      object_store::Request abort;
      abort.operation = object_store::Operation::kAbortUpload;
      abort.key = upload.key;
      abort.upload_id = upload.upload_id;
      aborts.push_back(std::move(abort));
    }
    // What a prune is for is done. The next one tries again.
    std::string failure;
    for (const Answer& answer : run_all(store_, std::move(aborts))) {
      const Status aborted = strict_status(answer);
      if (aborted) {
        ++report_.aborted_uploads;
      } else if (failure.empty()) {
        failure = one_line(aborted.error());
      }
    }
    if (!failure.empty()) {
      report_.notes.push_back(
          fmt::format("{} of {} uploads that nobody completes could not be aborted: {}",
                      abandoned.size() - report_.aborted_uploads, abandoned.size(), failure));
    }
  }

  static constexpr std::array kTombstoneText = {std::byte{'t'}, std::byte{'\n'}};

  object_store::ObjectStore& bucket_;
  const PruneOptions& options_;
  const CollectSettings& settings_;
  Bucket store_;
  Bucket final_;
  RecordReader records_;
  const Uuid cycle_id_ = Uuid::random();
  ObjectSizes objects_;
  std::set<RecordPlace> dropped_;
  std::uint64_t other_keys_ = 0;
  PruneReport report_;
};

}  // namespace

Result<PruneReport> prune(object_store::ObjectStore& bucket, const PruneOptions& options,
                          const CollectSettings& settings) {
  return contain("prune", [&] { return Prune(bucket, options, settings).run(); });
}

}  // namespace lamina::remote
