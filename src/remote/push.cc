#include "remote/push.h"

#include <chrono>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "base/error.h"
#include "operations/pack_codec.h"
#include "os/clock.h"
#include "os/priority.h"
#include "remote/confirmation.h"
#include "remote/local_files.h"
#include "remote/pin.h"
#include "remote/publication.h"
#include "remote/push_objects.h"
#include "remote/requests.h"
#include "remote/standing.h"
#include "store/ancestors.h"
#include "store/name.h"
#include "store/open_store.h"
#include "store/push_record.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::BlockingStore;

/// Attempts to find a free number.
constexpr int kPushAttempts = 8;
/// A pin is stored again after this time, long before it expires.
constexpr std::chrono::hours kPinRenewal{4};

/// The pin of one attempt.
class PushPin {
 public:
  PushPin(BlockingStore& store, Pin pin)
      : store_(store), pin_(std::move(pin)), bytes_(encode_pin(pin_)) {}

  Status put() {
    const Answer answer = store_.put(pin_key(pin_.push_id), bytes_);
    if (answer.ok()) stored_ = std::chrono::steady_clock::now();
    return strict_status(answer);
  }
  Status renew_if_old() {
    return std::chrono::steady_clock::now() - stored_ < kPinRenewal ? Status() : put();
  }
  /// A pin that cannot be deleted expires.
  void drop() {
    begin_drop();
    static_cast<void>(store_.wait_until([this] { return is_dropped_; }));
  }
  /// The deletion goes on while other requests run.
  void begin_drop() {
    if (drop_) return;
    drop_ = store_.store().start(remove_request(pin_key(pin_.push_id)),
                                 [this](const Answer&) { is_dropped_ = true; });
  }

  PushPin(const PushPin&) = delete;
  PushPin& operator=(const PushPin&) = delete;
  PushPin(PushPin&&) = delete;
  PushPin& operator=(PushPin&&) = delete;
  ~PushPin() {
    if (drop_ && !is_dropped_) store_.store().cancel(*drop_);
  }

 private:
  BlockingStore& store_;
  Pin pin_;
  std::vector<std::byte> bytes_;
  std::chrono::steady_clock::time_point stored_;
  std::optional<object_store::ObjectStore::RequestId> drop_;
  bool is_dropped_ = false;
};

class Push {
 public:
  Push(object_store::ObjectStore& bucket, const PushOptions& options, packed::KeyWrapper* tenant)
      : bucket_(bucket), options_(options), tenant_(tenant) {}

  Result<PushReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(local_path_, store::parse_snapshot_path(options_.snapshot));
    const std::string name = options_.name.empty() ? local_path_.name : options_.name;
    LAMINA_RETURN_IF_ERROR(check_name(name));
    if (options_.background) run_in_background();
    LAMINA_ASSIGN_OR_RETURN(LocalSnapshot opened, open_local_snapshot(options_.snapshot));
    local_.emplace(std::move(opened));
    begin_report(name);
    objects_.emplace(bucket_, *local_, upload_settings());
    Lineage known = lineage(name);
    store_.emplace(bucket_, options_.progress, known.bucket_id);
    final_.emplace(store_->uninterruptible());
    LAMINA_ASSIGN_OR_RETURN(const bool is_published, push_as(name, std::move(known)));
    if (!is_published) LAMINA_RETURN_IF_ERROR(push_after_conflict(name));
    finish_report();
    return {};
  }

  void run_in_background() {
    const Status low = os::become_background_thread();
    if (low) return;
    report_.notes.push_back(
        fmt::format("the push runs at normal priority: {}", one_line(low.error())));
  }

  void begin_report(const std::string& name) {
    report_.snapshot = local_path_.path;
    report_.name = name;
    report_.pause_id = local_->snapshot.pause_id;
    for (const LocalFile& file : local_->files) report_.data_bytes += data_bytes_of(*local_, file);
  }

  void finish_report() {
    const std::vector<std::string>& notes = objects_->notes();
    report_.notes.insert(report_.notes.end(), notes.begin(), notes.end());
    report_.uploaded_objects = objects_->uploaded_objects();
    report_.uploaded_bytes = objects_->uploaded_bytes();
    if (options_.dry_run && !report_.is_already_there) {
      report_.uploaded_objects = objects_->missing_objects();
      report_.uploaded_bytes = objects_->missing_bytes();
    }
    if (!report_.is_already_there) {
      report_.reused_objects = objects_->reused_objects();
      report_.reused_bytes = objects_->reused_bytes();
    }
    if (options_.dry_run) return;
    const Status recorded = record_locally();
    if (recorded) return;
    report_.notes.push_back(
        fmt::format("the snapshot was pushed, but store '{}' could not record that: {}",
                    local_path_.store, one_line(recorded.error())));
  }

  /// Nothing depends on it if the record can be written, and that is tried, and reported, in any
  /// case.
  void mark_locally(const std::string& name) {
    std::vector<std::string> notes;
    const auto opened = store::StoreSource().open(local_path_.store, notes);
    if (!opened) return;
    static_cast<void>(store::mark_push(**opened, report_.pause_id, remote_name(), name));
  }

  Status record_locally() {
    LAMINA_ASSIGN_OR_RETURN(const auto opened,
                            store::StoreSource().open(local_path_.store, report_.notes));
    return store::write_push_record(
        *opened, report_.pause_id,
        {remote_name(), report_.name, report_.number, known_id(*final_)});
  }

  [[nodiscard]] std::string remote_name() const { return bucket_.name_of(""); }

  [[nodiscard]] UploadSettings upload_settings() const {
    UploadSettings settings;
    settings.method = operations::method_of(options_.codec);
    settings.is_sealed = tenant_ != nullptr;
    settings.rate_limit_bytes_s = options_.rate_limit_bytes_s;
    settings.progress = options_.progress;
    return settings;
  }

  /// With `bucket_id`, what is known of that bucket only.
  [[nodiscard]] Lineage lineage(const std::string& name, std::optional<Uuid> bucket_id = {}) const {
    const store::OpenSnapshot& snapshot = local_->snapshot;
    Lineage lineage;
    lineage.pause_id = snapshot.pause_id;
    std::vector<Uuid> pauses = store::ancestors_of(snapshot.facts);
    lineage.ancestors.insert(pauses.begin(), pauses.end());
    pauses.insert(pauses.begin(), lineage.pause_id);
    for (const engine::Layer& layer : snapshot.chain.layers()) {
      lineage.build_ids.insert(layer.build_id());
    }
    for (const Uuid& pause_id : pauses) {
      const auto record = store::find_push_record(local_path_.store, pause_id, remote_name(), name);
      if (!record) continue;
      // A bucket of this URL that does not exist any more had other numbers.
      if (bucket_id && !record->may_be_of(*bucket_id)) continue;
      if (!bucket_id) bucket_id = record->bucket_id;
      lineage.known_number = std::max(lineage.known_number, record->number);
    }
    lineage.bucket_id = bucket_id;
    return lineage;
  }

  /// Publishes the state under `name`. False: conflict.
  Result<bool> push_as(const std::string& name, Lineage lineage) {
    for (int attempt = 0; attempt < kPushAttempts; ++attempt) {
      LAMINA_ASSIGN_OR_RETURN(
          const Standing standing,
          find_standing(*store_, name, lineage, options_.replace && !report_.is_conflict));
      LAMINA_ASSIGN_OR_RETURN(const bool is_same_bucket, is_bucket_of(lineage));
      if (!is_same_bucket) {
        // In a dry run an empty bucket gets no id; no other number is known of it either.
        lineage = this->lineage(name, known_id(*store_).value_or(Uuid::random()));
        continue;
      }
      // First, because it reads no file.
      if (standing.newest && !standing.is_conflict && is_same_state(standing)) {
        LAMINA_ASSIGN_OR_RETURN(const bool is_newest, confirm_present(standing));
        if (is_newest) return true;
        continue;
      }
      if (standing.newest) LAMINA_RETURN_IF_ERROR(find_objects(*standing.newest));
      if (standing.is_conflict) return conflict(standing.newest->record().place.number);
      // There may be objects of other names.
      if (standing.is_new_name) {
        LAMINA_RETURN_IF_ERROR(objects_->find_by_list());
        LAMINA_RETURN_IF_ERROR(find_under_other_names());
      }
      LAMINA_RETURN_IF_ERROR(objects_->scan_files());
      if (options_.dry_run) {
        report_.number = standing.number;
        return true;
      }
      LAMINA_ASSIGN_OR_RETURN(const PublicationOutcome outcome, attempt_at(name, standing));
      if (outcome == PublicationOutcome::kAcknowledged) return true;
      // After a conflict too: what was published meanwhile may be an ancestor once more, by a
      // rotation of its key.
    }
    return fail(ErrorKind::kBusy, "no free number was found for '{}' in {} attempts; try again",
                name, kPushAttempts);
  }

  /// False if the number that the state descends from is of a bucket that was at this URL earlier.
  /// A record that was read has told the id; if none was, v1/format does.
  Result<bool> is_bucket_of(const Lineage& lineage) {
    if (!lineage.bucket_id) return true;
    const auto bucket_id = options_.dry_run ? store_->id() : store_->make_id();
    if (bucket_id) return *bucket_id == *lineage.bucket_id;
    if (options_.dry_run && bucket_id.error().kind == ErrorKind::kNotFound) {
      return lineage.known_number == 0;
    }
    return std::unexpected(bucket_id.error());
  }

  bool conflict(std::uint64_t rival) {
    rival_number_ = rival;
    return false;
  }

  /// A conflict keeps the state under another name: that of its ancestors' conflict, if there was
  /// one and nobody else is there, or one of its own.
  Status push_after_conflict(const std::string& name) {
    report_.is_conflict = true;
    const std::string own = conflict_name(name, report_.pause_id);
    const std::uint64_t rival = rival_number_;
    bool is_published = false;
    for (const std::string& other : {inherited_name(name).value_or(own), own}) {
      report_.name = other;
      LAMINA_ASSIGN_OR_RETURN(is_published, push_as(other, lineage(other)));
      if (is_published) break;
    }
    if (!is_published) {
      return fail(ErrorKind::kExists,
                  "'{}' and '{}' both have states of other snapshots; choose "
                  "another name for the push",
                  name, own);
    }
    report_.notes.push_back(fmt::format(
        "'{}' has a newer state, number {}, that this snapshot does not descend from; it was "
        "pushed as '{}'",
        name, rival, report_.name));
    return {};
  }

  /// The name under which a conflict has kept the newest ancestor that was pushed.
  [[nodiscard]] std::optional<std::string> inherited_name(const std::string& name) const {
    const std::vector<Uuid> ancestors = store::ancestors_of(local_->snapshot.facts);
    for (const auto& record : store::push_records_of(local_path_.store, ancestors)) {
      if (record.remote == remote_name() && is_conflict_name(record.name, name)) {
        return record.name;
      }
    }
    return std::nullopt;
  }

  /// True if the newest state is this one: the same pause, in the same layers, with a pack if a
  /// working set was recorded since.
  [[nodiscard]] bool is_same_state(const Standing& standing) {
    if (!standing.newest) return false;
    const Record& record = standing.newest->record();
    const bool is_sealed = standing.newest->part.layout.seal != packed::SealAlgorithm::kNone;
    if (record.pause_id != report_.pause_id || is_sealed != (tenant_ != nullptr)) return false;
    if (record.place.number + 1 != standing.number) return false;  // removed since, or a void
    std::set<Uuid> layers;
    bool has_pack = false;
    for (const Reference& reference : record.references) {
      const auto object = parse_object_key(reference.key);
      if (object && object->kind == KindOfObject::kLayer) layers.insert(object->id);
      has_pack = has_pack || (object && object->kind == KindOfObject::kPack);
    }
    if (!has_pack && objects_->wants_pack()) return false;
    std::set<Uuid> ours;
    for (const engine::Layer& layer : local_->snapshot.chain.layers()) {
      ours.insert(layer.build_id());
    }
    return layers == ours;
  }

  Result<bool> confirm_present(const Standing& standing) {
    const RecordPlace& place = standing.newest->record().place;
    const Publication checked = check_newest(*store_, place);
    if (checked.outcome == PublicationOutcome::kUnknown) return std::unexpected(checked.error);
    if (checked.outcome == PublicationOutcome::kConflict) return false;
    report_.number = place.number;
    report_.is_already_there = true;
    return true;
  }

  /// Objects that can be reused. A manifest that cannot be opened (it has another key) has none.
  Status find_objects(const ReadRecord& read) {
    const auto manifest = decode_manifest(read.bytes, read.record().place, tenant_);
    if (manifest) return objects_->find_in(*manifest);
    const ErrorKind kind = manifest.error().kind;
    if (kind == ErrorKind::kPermission || kind == ErrorKind::kUsage) return {};
    return std::unexpected(manifest.error());
  }

  /// The attached files of a first push are compared with those of its newest ancestor in the
  /// bucket, a template for example.
  Status find_under_other_names() {
    if (!objects_->needs_base()) return {};
    std::vector<Uuid> pauses = store::ancestors_of(local_->snapshot.facts);
    pauses.insert(pauses.begin(), report_.pause_id);
    for (const auto& push : store::push_records_of(local_path_.store, pauses)) {
      if (push.remote != remote_name() || !check_name(push.name)) continue;
      const auto read = read_and_decode(*store_, {push.name, push.number});
      if (!read && read.error().kind == ErrorKind::kNotFound) continue;  // removed meanwhile
      if (!read) return std::unexpected(read.error());
      if (read->record().is_manifest()) return find_objects(*read);
    }
    return {};
  }

  Result<PublicationOutcome> attempt_at(const std::string& name, const Standing& standing) {
    mark_locally(name);
    LAMINA_ASSIGN_OR_RETURN(const Uuid bucket_id, store_->make_id());
    Pin pin{bucket_id, Uuid::random(), {name, standing.number}, objects_->found_keys()};
    PushPin stored(*final_, pin);
    const Status pinned = stored.put();
    if (!pinned) {
      stored.drop();  // it may have been stored
      return std::unexpected(pinned.error());
    }
    auto manifest = prepare(pin, standing, stored);
    if (!manifest) {
      stored.drop();
      return std::unexpected(manifest.error());
    }
    const Publication publication =
        publish(*final_, manifest->record, manifest->bytes, [&] { stored.begin_drop(); });
    if (publication.outcome == PublicationOutcome::kUnknown) {
      return with_remedy(std::unexpected(with_context("it is not known whether the snapshot was "
                                                      "published",
                                                      publication.error)),
                         "push it again: that finds out");
    }
    stored.drop();
    if (publication.outcome == PublicationOutcome::kFailed) {
      return std::unexpected(publication.error);
    }
    report_.number = standing.number;
    return publication.outcome;
  }

  /// False if an object cannot be reused.
  Result<bool> drop_unconfirmed(Confirmation& confirmation) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<Finding> findings, confirmation.finish(*store_));
    std::set<std::string> gone;
    for (std::size_t i = 0; i < findings.size(); ++i) {
      if (findings[i] != Finding::kThere) gone.insert(confirmation.references()[i].key);
    }
    objects_->drop(gone);
    return gone.empty();
  }

  struct EncodedManifest {
    Record record;
    std::vector<std::byte> bytes;
  };

  /// Confirms and uploads the objects, and encodes the manifest.
  Result<EncodedManifest> prepare(const Pin& pin, const Standing& standing, PushPin& stored) {
    Confirmation confirmation(bucket_, objects_->found());
    if (options_.progress != nullptr)
      options_.progress->begin("pushing", objects_->missing_bytes());
    LAMINA_RETURN_IF_ERROR(
        objects_->upload_missing(pin.push_id, [&] { return stored.renew_if_old(); }));
    LAMINA_ASSIGN_OR_RETURN(const bool are_all_there, drop_unconfirmed(confirmation));
    if (!are_all_there) {
      LAMINA_RETURN_IF_ERROR(
          objects_->upload_missing(pin.push_id, [&] { return stored.renew_if_old(); }));
    }
    Manifest manifest;
    Record& record = manifest.record;
    record.bucket_id = pin.bucket_id;
    record.nonce = Uuid::random();
    record.place = pin.place;
    record.created_s = os::unix_seconds();
    record.base_number = standing.base_number;
    record.pause_id = report_.pause_id;
    const store::OpenSnapshot& snapshot = local_->snapshot;
    if (snapshot.facts) {
      record.parent_pause_id = snapshot.facts->parent_pause_id.value_or(Uuid());
    }
    record.build_id = snapshot.header.build_id;
    record.memory_bytes = snapshot.header.memory_bytes;
    objects_->describe(manifest);
    LAMINA_ASSIGN_OR_RETURN(std::vector<std::byte> bytes, encode_manifest(manifest, tenant_));
    if (options_.progress != nullptr && options_.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    return EncodedManifest{std::move(record), std::move(bytes)};
  }

  object_store::ObjectStore& bucket_;
  const PushOptions& options_;
  packed::KeyWrapper* tenant_;
  std::optional<Bucket> store_;
  std::optional<Bucket> final_;  ///< for what is not interrupted: pins and publication
  store::SnapshotPath local_path_;
  std::optional<LocalSnapshot> local_;
  std::optional<PushObjects> objects_;
  std::uint64_t rival_number_ = 0;
  PushReport report_;
};

}  // namespace

Result<PushReport> push(object_store::ObjectStore& bucket, const PushOptions& options,
                        packed::KeyWrapper* tenant) {
  return contain("push", [&] { return Push(bucket, options, tenant).run(); });
}

}  // namespace lamina::remote
