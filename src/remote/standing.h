// Where a state stands among those that a bucket has of a name (docs/remote.md, "Publishing", 1).
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "lamina/result.h"
#include "remote/bucket.h"
#include "remote/catalogue.h"

namespace lamina::remote {

/// What is known locally about a state and the states that it descends from.
struct Lineage {
  Uuid pause_id;
  std::set<Uuid> ancestors;        ///< pause ids of the states before it, as far as known
  std::set<Uuid> build_ids;        ///< of its layers
  std::uint64_t known_number = 0;  ///< of this pause or an ancestor in the bucket; 0: none is known
  std::optional<Uuid> bucket_id{};  ///< of the bucket that `known_number` is of, as far as known

  /// True if the state is that of `record` or descends from it: the record is of the same pause or
  /// of an ancestor, or its youngest layer is one of the state's. (A layer is made by one pause or
  /// merge of one state. Snapshots of earlier versions do not list their ancestors.)
  [[nodiscard]] bool descends_from(const Record& record) const {
    return record.pause_id == pause_id || ancestors.contains(record.pause_id) ||
           build_ids.contains(record.build_id);
  }
};

struct Standing {
  bool is_conflict = false;          ///< the newest state is another one's: `newest`
  bool is_new_name = false;          ///< there are no records
  std::uint64_t number = 0;          ///< one above the highest record
  std::uint64_t base_number = 0;     ///< the state that this one descends from; 0: none
  std::optional<ReadRecord> newest;  ///< the newest state, if it is a manifest
};

/// Lists the records and reads the newest state. With `replaces_newest`, whatever that is, the
/// state counts as its descendant. Errors: those of the store; kCorrupt.
Result<Standing> find_standing(Bucket& bucket, const std::string& name, const Lineage& lineage,
                               bool replaces_newest);

}  // namespace lamina::remote
