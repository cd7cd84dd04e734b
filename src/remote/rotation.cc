// A rotation is a push of the newest state by somebody who has none of its data: the same pause,
// the same objects, the same pin and the same checks, published at the next number with a keyring
// of the new key. So everything that holds for a push holds for it: one winner of several, nothing
// half done, repeatable.
//
// It differs in two points. A push uploads an object that has a tombstone; a rotation cannot, and
// leaves that name to a later one. And once the new record is acknowledged, records below it that
// have the old key are deleted, the lowest first, as retention deletes records.
//
// Rejected: rewriting the keyring in place (the contents of a key never change: a late copy of the
// PUT would bring the old keyring back), and keyrings as objects of their own (a GET more for each
// pull, and a second thing that must be there for a state to be whole).
#include "remote/rotation.h"

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/remote.h"
#include "packed/keyring.h"
#include "remote/confirmation.h"
#include "remote/key_use.h"
#include "remote/manifest.h"
#include "remote/pin.h"
#include "remote/publication.h"
#include "remote/requests.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::Outcome;

/// Attempts to find a free number while others publish.
constexpr int kRotationAttempts = 8;

/// What became of one attempt.
enum class RotationStep : std::uint8_t {
  kRotated,
  kLeft,   ///< it does not have the old key
  kAgain,  ///< another state was published
};

class Rotation {
 public:
  Rotation(object_store::ObjectStore& bucket, const RotateKeyOptions& options,
           packed::KeyWrapper& before, packed::KeyWrapper& after)
      : options_(options),
        before_(before),
        after_(after),
        store_(bucket, options.progress),
        final_(store_.uninterruptible()) {}

  Result<RotateKeyReport> run() {
    LAMINA_RETURN_IF_ERROR(work());
    return std::move(report_);
  }

 private:
  Status work() {
    report_.old_key_id = name_of_key(before_.algorithm(), before_.key_id());
    report_.key_id = name_of_key(after_.algorithm(), after_.key_id());
    LAMINA_RETURN_IF_ERROR(check_keys());
    LAMINA_ASSIGN_OR_RETURN(const RecordList list, list_all_records(store_));
    std::set<std::string> names;
    for (const ListedRecord& record : list.records) {
      if (matches_pattern(record.place.name, options_.pattern)) names.insert(record.place.name);
    }
    if (options_.progress != nullptr) options_.progress->begin("rotating", names.size());
    for (const std::string& name : names) {
      if (options_.progress != nullptr && options_.progress->interrupted()) {
        return fail(ErrorKind::kInterrupted, "interrupted; a repetition goes on");
      }
      const Status rotated = rotate_name(name);
      if (!rotated) {
        if (ends_rotation(rotated.error())) return rotated;
        report_.problems.push_back(fmt::format("'{}': {}", name, one_line(rotated.error())));
      }
      if (options_.progress != nullptr) options_.progress->advance(1);
    }
    return {};
  }

  [[nodiscard]] Status check_keys() const {
    // Keys of commands cannot be compared: one command may stand for a key that its service has
    // exchanged.
    if (before_.algorithm() == packed::WrapAlgorithm::kCommand) return {};
    if (report_.old_key_id != report_.key_id) return {};
    return fail(ErrorKind::kUsage, "the old key and the new one are the same, {}", report_.key_id);
  }

  /// Errors that the next name would have too.
  static bool ends_rotation(const Error& error) {
    return error.kind == ErrorKind::kInterrupted || error.kind == ErrorKind::kUsage;
  }

  /// All records of a name, by number.
  Result<std::vector<KeyedRecord>> read_name(const std::string& name, std::uint64_t& highest) {
    LAMINA_ASSIGN_OR_RETURN(const RecordList list, list_records(store_, name));
    highest = list.records.empty() ? 0 : list.records.back().place.number;
    std::vector<KeyedRecord> records;
    records.reserve(list.records.size());
    for (auto& read : read_keyed_records(store_, list.records)) {
      if (read) {
        records.push_back(std::move(*read));
      } else if (read.error().kind != ErrorKind::kNotFound) {
        return std::unexpected(read.error());
      }
    }
    return records;
  }

  Status rotate_name(const std::string& name) {
    for (int attempt = 0; attempt < kRotationAttempts; ++attempt) {
      std::uint64_t highest = 0;
      LAMINA_ASSIGN_OR_RETURN(const std::vector<KeyedRecord> records, read_name(name, highest));
      const std::size_t newest = place_of_newest(records);
      if (newest == records.size()) return {};
      LAMINA_ASSIGN_OR_RETURN(const RotationStep step, rotate_newest(records[newest], highest + 1));
      if (step == RotationStep::kAgain) continue;
      const auto older = std::span(records).first(newest);
      LAMINA_RETURN_IF_ERROR(options_.keep_older ? count_older(older) : drop_older(older));
      // The record that was published again is below its successor now. It goes last.
      const bool is_replaced = step == RotationStep::kRotated && !options_.dry_run;
      return is_replaced ? drop(records[newest]) : Status();
    }
    return with_remedy(fail(ErrorKind::kBusy, "it is published again and again"), "try again");
  }

  Result<RotationStep> rotate_newest(const KeyedRecord& newest, std::uint64_t number) {
    bool has_old_key = false;
    if (!newest.keyring.empty()) {
      LAMINA_ASSIGN_OR_RETURN(has_old_key, is_of_old_key(newest));
    }
    if (!has_old_key) {
      if (newest.record().is_manifest()) ++report_.other_names;
      return RotationStep::kLeft;
    }
    if (!options_.dry_run) {
      LAMINA_ASSIGN_OR_RETURN(const bool is_published, publish_again(newest, number));
      if (!is_published) return RotationStep::kAgain;
    }
    ++report_.rotated_states;
    report_.rotated_bytes += newest.record().referenced_bytes();
    return RotationStep::kRotated;
  }

  /// True if the record is to be rotated. Of two commands, only trying tells.
  Result<bool> is_of_old_key(const KeyedRecord& keyed) {
    const bool by_file = after_.algorithm() == packed::WrapAlgorithm::kAes256Gcm;
    if (by_file && keyed.key_name == report_.key_id) return false;  // the old file may have both
    const Status old = packed::check_keyring_key(keyed.keyring, before_);
    if (old) return true;
    if (old.error().kind == ErrorKind::kPermission) return false;
    if (packed::check_keyring_key(keyed.keyring, after_)) return false;
    return std::unexpected(old.error());
  }

  /// Publishes the state at `number`, for the new key. False: something else was published.
  Result<bool> publish_again(const KeyedRecord& newest, std::uint64_t number) {
    const RecordPlace& old_place = newest.record().place;
    const auto read = read_and_decode(store_, old_place);
    if (!read) {
      if (read.error().kind == ErrorKind::kNotFound) return false;
      return std::unexpected(read.error());
    }
    LAMINA_ASSIGN_OR_RETURN(Manifest manifest, decode_manifest(read->bytes, old_place, &before_));
    Record& record = manifest.record;
    record.base_number = old_place.number;
    record.place.number = number;
    record.nonce = Uuid::random();
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, encode_manifest(manifest, &after_));
    Pin pin{record.bucket_id, Uuid::random(), record.place, {}};
    pin.reused.reserve(record.references.size());
    for (const Reference& reference : record.references) pin.reused.push_back(reference.key);
    const std::string pin_name = pin_key(pin.push_id);
    const Status pinned = strict_status(final_.put(pin_name, encode_pin(pin)));
    const Status confirmed = pinned ? confirm(record.references) : pinned;
    if (!confirmed) {
      static_cast<void>(final_.remove(pin_name));
      return std::unexpected(confirmed.error());
    }
    const Publication publication = publish(final_, record, bytes);
    if (publication.outcome == PublicationOutcome::kUnknown) {
      // The pin stays: the record may still appear.
      return std::unexpected(
          with_context("it is not known whether it was rotated", publication.error));
    }
    static_cast<void>(final_.remove(pin_name));  // one that stays expires
    if (publication.outcome == PublicationOutcome::kFailed) {
      return std::unexpected(publication.error);
    }
    return publication.outcome == PublicationOutcome::kAcknowledged;
  }

  /// Step 3 of a push.
  Status confirm(const std::vector<Reference>& references) {
    Confirmation confirmation(store_.store(), references);
    LAMINA_ASSIGN_OR_RETURN(const std::vector<Finding> findings, confirmation.finish(store_));
    for (std::size_t i = 0; i < findings.size(); ++i) {
      if (findings[i] == Finding::kTombstone) {
        return with_remedy(
            fail(ErrorKind::kBusy,
                 "a prune is about to delete its object '{}', or was interrupted before that",
                 references[i].key),
            "try again when no prune runs; if this stays, pull the snapshot with the old key, and "
            "push it with the new one");
      }
      if (findings[i] == Finding::kAbsent) {
        return with_remedy(
            fail(ErrorKind::kCorrupt, "its object '{}' is missing, or has another size",
                 references[i].key),
            "run: lamina remote verify");
      }
    }
    return {};
  }

  /// Those of `older` that have the old key. What neither key opens is another one's.
  std::vector<const KeyedRecord*> with_old_key(std::span<const KeyedRecord> older) {
    std::vector<const KeyedRecord*> found;
    for (const KeyedRecord& record : older) {
      if (record.keyring.empty()) continue;
      const auto has_old_key = is_of_old_key(record);
      if (!has_old_key) {
        report_.problems.push_back(fmt::format("'{}', number {}: {}", record.record().place.name,
                                               record.record().place.number,
                                               one_line(has_old_key.error())));
      } else if (*has_old_key) {
        found.push_back(&record);
      }
    }
    return found;
  }

  Status count_older(std::span<const KeyedRecord> older) {
    report_.kept_states += with_old_key(older).size();
    return {};
  }

  /// A newer state is there, so these may go: the lowest first.
  Status drop_older(std::span<const KeyedRecord> older) {
    for (const KeyedRecord* record : with_old_key(older)) {
      if (!options_.dry_run) LAMINA_RETURN_IF_ERROR(drop(*record));
      ++report_.removed_states;
    }
    return {};
  }

  Status drop(const KeyedRecord& keyed) {
    const Answer answer = final_.remove(record_key(keyed.record().place));
    if (answer.ok() || answer.outcome == Outcome::kAbsent) return {};
    return std::unexpected(with_context(
        fmt::format("record {} with the old key is still there", keyed.record().place.number),
        answer.error));
  }

  const RotateKeyOptions& options_;
  packed::KeyWrapper& before_;
  packed::KeyWrapper& after_;
  Bucket store_;
  Bucket final_;
  RotateKeyReport report_;
};

}  // namespace

Result<RotateKeyReport> rotate_key(object_store::ObjectStore& bucket,
                                   const RotateKeyOptions& options, packed::KeyWrapper& before,
                                   packed::KeyWrapper& after) {
  return contain("rotate", [&] { return Rotation(bucket, options, before, after).run(); });
}

}  // namespace lamina::remote
