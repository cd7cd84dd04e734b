#include "remote/standing.h"

#include <utility>

#include "base/error.h"

namespace lamina::remote {
namespace {

/// The record that the state is known to descend from, if nothing newer exists.
Result<std::optional<ReadRecord>> finish_base(std::optional<RecordRead>& base) {
  if (!base) return std::nullopt;
  auto read = base->finish();
  if (read) return std::optional(std::move(*read));
  if (read.error().kind == ErrorKind::kNotFound) return std::nullopt;
  return std::unexpected(read.error());
}

}  // namespace

Result<Standing> find_standing(Bucket& bucket, const std::string& name, const Lineage& lineage,
                               bool replaces_newest) {
  // It is read while the records above it are listed: mostly there are none.
  std::optional<RecordRead> base;
  if (lineage.known_number != 0) base.emplace(bucket, RecordPlace{name, lineage.known_number});
  LAMINA_ASSIGN_OR_RETURN(const RecordList list, list_records(bucket, name, lineage.known_number));
  LAMINA_ASSIGN_OR_RETURN(std::optional<ReadRecord> newest, newest_state(bucket, list.records));
  Standing standing;
  const bool has_records = !list.records.empty();
  standing.is_new_name = !has_records && lineage.known_number == 0;
  standing.number = (has_records ? list.records.back().place.number : lineage.known_number) + 1;
  if (standing.number > kMaxNumber) {
    return fail(ErrorKind::kFailed, "name '{}' has no number left above {}", name, kMaxNumber);
  }
  standing.base_number = lineage.known_number;
  if (!newest) {
    LAMINA_ASSIGN_OR_RETURN(newest, finish_base(base));
    if (newest && newest->record().is_manifest()) standing.newest = std::move(newest);
    return standing;
  }
  if (!newest->record().is_manifest()) return standing;
  const bool descends = replaces_newest || lineage.descends_from(newest->record());
  standing.is_conflict = !descends;
  if (descends) standing.base_number = newest->record().place.number;
  standing.newest = std::move(newest);
  return standing;
}

}  // namespace lamina::remote
