#include "remote/cache_proof.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "remote/catalogue.h"
#include "remote/requests.h"

namespace lamina::remote {
namespace {

constexpr const char* kGone = "that the bucket does not have any more";
constexpr const char* kOther = "whose names have another state in the bucket";
constexpr const char* kObjects = "whose objects are not all in the bucket";

/// Whether the parents of `newest`, by the records of the bucket, lead to `pause_id`.
bool descends(const std::vector<Result<PublicPart>>& parts, const Record& newest,
              const Uuid& pause_id) {
  Uuid parent = newest.parent_pause_id;
  // A chain of parents has no state twice: so many steps are enough, also in damaged records.
  for (std::size_t step = 0; step <= parts.size(); ++step) {
    if (parent == pause_id) return true;
    const auto found = std::ranges::find_if(parts, [&](const Result<PublicPart>& part) {
      return part && part->record.is_manifest() && part->record.pause_id == parent;
    });
    if (parent.is_nil() || found == parts.end()) return false;
    parent = (*found)->record.parent_pause_id;
  }
  return false;
}

Result<bool> has_objects(Bucket& bucket, const Record& manifest) {
  std::vector<object_store::Request> requests;
  requests.reserve(manifest.references.size());
  for (const Reference& reference : manifest.references) {
    requests.push_back(head_request(reference.key));
  }
  const std::vector<object_store::Answer> answers = run_all(bucket, std::move(requests));
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const Status there = strict_status(answers[i]);
    if (!there && there.error().kind == ErrorKind::kNotFound) return false;
    LAMINA_RETURN_IF_ERROR(there);
    if (answers[i].size_bytes != manifest.references[i].size_bytes) return false;
  }
  return true;
}

}  // namespace

Result<std::string> why_not_in_bucket(Bucket& bucket, const std::string& name,
                                      const Uuid& pause_id) {
  LAMINA_ASSIGN_OR_RETURN(const RecordList list, list_records(bucket, name));
  LAMINA_ASSIGN_OR_RETURN(const std::optional<ReadRecord> newest,
                          newest_state(bucket, list.records));
  if (!newest || !newest->record().is_manifest()) return kGone;
  const Record& manifest = newest->record();
  if (manifest.pause_id != pause_id) {
    const auto parts = read_public_parts(bucket, list.records);
    if (!descends(parts, manifest, pause_id)) return kOther;
  }
  LAMINA_ASSIGN_OR_RETURN(const bool is_whole, has_objects(bucket, manifest));
  if (!is_whole) return kObjects;
  return std::string();
}

}  // namespace lamina::remote
