#include "remote/removal.h"

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "base/error.h"
#include "os/clock.h"
#include "remote/catalogue.h"
#include "remote/publication.h"
#include "remote/requests.h"

namespace lamina::remote {
namespace {

class Removal {
 public:
  Removal(object_store::ObjectStore& bucket, const RemoteRemoveOptions& options,
          std::optional<std::uint64_t> only_number)
      : bucket_(bucket),
        options_(options),
        only_number_(only_number),
        store_(bucket, options.progress),
        final_(store_.uninterruptible()) {}

  Result<RemoteRemoveReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_RETURN_IF_ERROR(check_name(options_.name));
    report_.name = options_.name;
    LAMINA_ASSIGN_OR_RETURN(const RecordList list, list_records(store_, options_.name));
    LAMINA_ASSIGN_OR_RETURN(const std::optional<ReadRecord> newest,
                            newest_state(store_, list.records));
    if (!newest || !newest->record().is_manifest()) {
      // An earlier removal may not have come to its end.
      if (newest && !options_.dry_run) {
        LAMINA_RETURN_IF_ERROR(delete_below(list, newest->record().place.number));
      }
      return fail(ErrorKind::kNotFound, "'{}' has no snapshot '{}'", bucket_.name_of(""),
                  options_.name);
    }
    report_.number = newest->record().place.number;
    if (only_number_ && *only_number_ != report_.number) return changed_meanwhile();
    report_.records = list.records.size();
    if (options_.dry_run) return {};
    const std::uint64_t number = list.records.back().place.number + 1;
    LAMINA_RETURN_IF_ERROR(put_removal(number));
    return delete_below(list, number);
  }

  [[nodiscard]] Status changed_meanwhile() const {
    return with_remedy(
        fail(ErrorKind::kBusy, "snapshot '{}' was changed meanwhile, and was not removed",
             options_.name),
        "look at it, and try again");
  }

  Status put_removal(std::uint64_t number) {
    Record record;
    record.kind = RecordKind::kRemoval;
    LAMINA_ASSIGN_OR_RETURN(record.bucket_id, final_.id());
    record.nonce = Uuid::random();
    record.place = {options_.name, number};
    record.created_s = os::unix_seconds();
    const Publication publication =
        publish(final_, record, encode_record(record, packed::SealAlgorithm::kNone, {}, {}));
    switch (publication.outcome) {
      case PublicationOutcome::kAcknowledged:
        return {};
      case PublicationOutcome::kConflict:
      case PublicationOutcome::kAgain:
        return changed_meanwhile();
      case PublicationOutcome::kUnknown:
        return with_remedy(
            std::unexpected(
                with_context(fmt::format("it is not known whether '{}' was removed", options_.name),
                             publication.error)),
            "try again");
      case PublicationOutcome::kFailed:
        break;
    }
    return std::unexpected(publication.error);
  }

  /// The lowest first, so that what is left is always below a newer state.
  Status delete_below(const RecordList& list, std::uint64_t number) {
    for (const ListedRecord& record : list.records) {
      if (record.place.number >= number) break;
      const auto answer = final_.remove(record_key(record.place));
      if (answer.ok() || answer.outcome == object_store::Outcome::kAbsent) continue;
      report_.notes.push_back(
          fmt::format("'{}' is removed, but its record {} is still there; the "
                      "next prune removes it: {}",
                      options_.name, record.place.number, one_line(answer.error)));
      break;
    }
    return {};
  }

  object_store::ObjectStore& bucket_;
  const RemoteRemoveOptions& options_;
  std::optional<std::uint64_t> only_number_;
  Bucket store_;
  Bucket final_;
  RemoteRemoveReport report_;
};

}  // namespace

Result<RemoteRemoveReport> remove_name(object_store::ObjectStore& bucket,
                                       const RemoteRemoveOptions& options,
                                       std::optional<std::uint64_t> only_number) {
  return contain("remove", [&] { return Removal(bucket, options, only_number).run(); });
}

}  // namespace lamina::remote
