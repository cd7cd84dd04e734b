#include "remote/pull.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "base/escape.h"
#include "os/directory.h"
#include "os/file.h"
#include "packed/object_io.h"
#include "remote/arrival_start.h"
#include "remote/arriving_layer.h"
#include "remote/assembly.h"
#include "remote/cache.h"
#include "remote/catalogue.h"
#include "remote/layer_search.h"
#include "remote/manifest.h"
#include "remote/name_wait.h"
#include "remote/object_stream.h"
#include "remote/requests.h"
#include "store/name.h"
#include "store/open_store.h"
#include "store/push_record.h"
#include "store/snapshot_directory.h"
#include "store/snapshot_link.h"
#include "store/staging.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using store::Staging;

/// A snapshot that is removed meanwhile, or replaced and collected, is looked up again.
constexpr int kPullAttempts = 3;
/// A lazy pull reads this record while the records are listed: most templates have one state only.
constexpr std::uint64_t kGuessedNumber = 1;
constexpr std::chrono::seconds kLongestLockWait{10};
constexpr std::uint32_t kOwnFileMode = 0600;
constexpr std::uint32_t kOwnerReads = 0400;

/// Header, facts and layers are the store's; other files keep their mode.
std::uint32_t mode_of_file(const ManifestFile& file) {
  const bool is_own = file.storage == FileStorage::kLayer || file.name == store::kHeaderName ||
                      file.name == store::kFactsName;
  return is_own ? kOwnFileMode : (file.mode & 0777U) | kOwnerReads;
}

/// True for names that no pushed snapshot has: those of unfinished files, and layers that are not
/// layers.
bool is_misnamed(const ManifestFile& file) {
  if (file.storage == FileStorage::kLayer) return false;  // compared with its build id
  return store::is_own_file(file.name) && file.name != store::kHeaderName &&
         file.name != store::kFactsName;
}

/// A file to be made of packed objects: of one, or of its parts.
struct PlannedFile {
  const ManifestFile* file = nullptr;
  std::vector<packed::PackReader> readers;
  FilePlan parts{};          ///< of a file in parts
  std::size_t streamed = 0;  ///< number of its first object in the stream

  [[nodiscard]] bool is_in_parts() const { return file->storage == FileStorage::kParts; }
  [[nodiscard]] std::uint64_t data_blocks() const {
    return is_in_parts() ? parts.data_blocks : readers.front().index().stored_blocks();
  }
  /// What must be read of one of its objects: all frames, or those with blocks of the file.
  [[nodiscard]] std::uint64_t bytes_to_read(std::size_t object) const {
    const packed::PackReader& reader = readers[object];
    if (!is_in_parts()) return reader.footer().frames_bytes;
    const std::vector<PartPiece>& pieces = parts.pieces[object];
    if (pieces.empty()) return 0;
    const std::uint32_t last = pieces.back().stored + pieces.back().run.count - 1;
    return reader.frame_range(last / reader.footer().frame_blocks).end();
  }
};

class Pull {
 public:
  Pull(object_store::ObjectStore& bucket, const PullOptions& options, packed::KeyWrapper* tenant)
      : bucket_(bucket), options_(options), tenant_(tenant), store_(bucket, options.progress) {}

  Result<PullReport> run() { return report_or_error(work(), report_); }

  /// Leaves the layers to the fetcher, if that is possible.
  Result<LazyPullReport> run_lazily(ArrivalStart& start) {
    start_ = &start;
    LazyPullReport report;
    LAMINA_ASSIGN_OR_RETURN(report.pull, run());
    report.is_arriving = is_arriving_;
    report.hold = start.hold();
    return report;
  }

 private:
  Status work() {
    LAMINA_RETURN_IF_ERROR(check_name(options_.name));
    LAMINA_ASSIGN_OR_RETURN(
        target_,
        store::snapshot_in(options_.store, options_.as.empty() ? options_.name : options_.as));
    report_.name = options_.name;
    // Look it up first: if it does not exist, no store must be made for it.
    LAMINA_RETURN_IF_ERROR(read_manifest());
    LAMINA_ASSIGN_OR_RETURN(const auto opened,
                            store::StoreSource().open(target_.store, report_.notes));
    // An eviction or a removal of the name that has begun is waited for: the name is free already,
    // and the lock soon.
    LAMINA_ASSIGN_OR_RETURN(
        const store::NameLock lock,
        wait_for_name(*opened, target_.name, kLongestLockWait, options_.progress));
    if (os::name_exists(opened->fd(), target_.name)) {
      return with_remedy(fail(ErrorKind::kExists, "'{}' already exists", target_.path),
                         "choose another name with `as`");
    }
    LAMINA_RETURN_IF_ERROR(fetch_and_publish(*opened));
    report_.snapshot = target_.path;
    record_locally(*opened);
    return {};
  }

  void record_locally(const store::Store& store) {
    const Status recorded = store::write_push_record(
        store, report_.pause_id,
        {bucket_.name_of(""), options_.name, report_.number, known_id(store_)});
    if (recorded) return;
    report_.notes.push_back(
        fmt::format("the snapshot was pulled, but '{}' could not record that: {}", store.path(),
                    one_line(recorded.error())));
  }

  Status read_manifest() {
    for (int attempt = 1;; ++attempt) {
      std::unique_ptr<RecordRead> guess;
      if (start_ != nullptr) {
        guess = std::make_unique<RecordRead>(store_, RecordPlace{options_.name, kGuessedNumber});
      }
      LAMINA_ASSIGN_OR_RETURN(const RecordList list, list_records(store_, options_.name));
      LAMINA_ASSIGN_OR_RETURN(const std::optional<ReadRecord> newest,
                              newest_of(list.records, std::move(guess)));
      if (!newest || !newest->record().is_manifest()) {
        // Records may have been removed between the list and the reading.
        if (!newest && !list.records.empty() && attempt < kPullAttempts) continue;
        return fail(ErrorKind::kNotFound, "'{}' has no snapshot '{}'", bucket_.name_of(""),
                    options_.name);
      }
      report_.number = newest->record().place.number;
      LAMINA_ASSIGN_OR_RETURN(manifest_,
                              decode_manifest(newest->bytes, newest->record().place, tenant_));
      record_bytes_ = newest->bytes;
      return check_files();
    }
  }

  /// As newest_state(), with the record that was guessed if that is the only one.
  Result<std::optional<ReadRecord>> newest_of(const std::vector<ListedRecord>& records,
                                              std::unique_ptr<RecordRead> guess) {
    if (guess && records.size() == 1 && records.front().place.number == kGuessedNumber) {
      auto read = guess->finish();
      if (read && read->record().is_manifest()) return std::optional(std::move(*read));
    }
    guess.reset();
    return newest_state(store_, records);
  }

  [[nodiscard]] Status check_files() const {
    for (const ManifestFile& file : manifest_.files) {
      if (!is_misnamed(file)) continue;
      return fail(ErrorKind::kCorrupt,
                  "snapshot '{}' in the bucket has a file '{}', which no snapshot has",
                  options_.name, escaped_value(file.name));
    }
    return {};
  }

  Status fetch_and_publish(const store::Store& store) {
    for (int attempt = 1;; ++attempt) {
      const Status done = fetch_once(store);
      if (done || done.error().kind != ErrorKind::kNotFound || attempt == kPullAttempts)
        return done;
      // An object is gone. If the snapshot still is the newest, that is an error.
      const std::uint64_t number = report_.number;
      LAMINA_RETURN_IF_ERROR(read_manifest());
      if (report_.number == number) {
        return std::unexpected(Error{ErrorKind::kCorrupt, done.error().message});
      }
    }
  }

  Status fetch_once(const store::Store& store) {
    reset_report();
    if (start_ != nullptr) start_->begin_protection(bucket_, manifest_.record);
    const Status done = fetch_into_staging(store);
    if (start_ != nullptr && !is_arriving_) start_->drop_pin(store_);
    return done;
  }

  Status fetch_into_staging(const store::Store& store) {
    LAMINA_ASSIGN_OR_RETURN(Staging staging,
                            Staging::create(store, store::Area::kTemporary, Uuid::random()));
    LAMINA_ASSIGN_OR_RETURN(const LayerSearch search, LayerSearch::open(store.fd(), store.path()));
    LAMINA_RETURN_IF_ERROR(plan(search, staging));
    bound_cache_of_pull(bucket_, options_, bytes_to_come(), report_);
    LAMINA_RETURN_IF_ERROR(write_small_files(staging));
    LAMINA_RETURN_IF_ERROR(unpack_planned(staging));
    LAMINA_RETURN_IF_ERROR(begin_layers(staging));
    LAMINA_RETURN_IF_ERROR(make_links(staging));
    LAMINA_RETURN_IF_ERROR(named(check(staging)));
    if (options_.progress != nullptr && options_.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    if (arriving_.empty()) return staging.publish_new(target_.name);
    std::vector<ArrivingFile> layers;
    layers.reserve(arriving_.size());
    for (const PlannedFile& layer : arriving_) {
      layers.push_back({layer.file->name, &layer.readers.front()});
    }
    LAMINA_RETURN_IF_ERROR(
        start_->publish(store, staging, store_, manifest_, record_bytes_, target_.name, layers));
    is_arriving_ = true;
    return {};
  }

  void reset_report() {
    report_.linked_layers = report_.fetched_layers = 0;
    report_.data_bytes = report_.fetched_bytes = 0;
    planned_.clear();
    arriving_.clear();
    layers_.clear();
  }

  [[nodiscard]] Status named(const Status& status) const {
    if (status || status.error().error_number != 0) return status;
    return std::unexpected(with_context(
        fmt::format("snapshot '{}' in '{}'", options_.name, bucket_.name_of("")), status.error()));
  }

  /// Opens the index of each object, links the layers that the store has, and plans the others.
  Status plan(const LayerSearch& search, const Staging& staging) {
    LAMINA_ASSIGN_OR_RETURN(const auto indexes, fetch_indexes());
    for (const ManifestFile& file : manifest_.files) {
      if (!file.has_object() && file.storage != FileStorage::kParts) continue;
      PlannedFile planned{&file, {}};
      for (const StoredObject* object : file.objects()) {
        const auto fetched = indexes.find(object);
        auto reader = open_stored(
            manifest_, *object,
            fetched == indexes.end() ? std::span<const std::byte>() : std::span(fetched->second));
        if (!reader) return named(std::unexpected(reader.error()));
        planned.readers.push_back(std::move(*reader));
      }
      if (file.storage == FileStorage::kLayer) {
        const packed::PackReader& reader = planned.readers.front();
        LAMINA_RETURN_IF_ERROR(named(check_layer_name(file, reader)));
        LAMINA_ASSIGN_OR_RETURN(const bool is_linked, link_layer(search, reader, staging));
        if (is_linked) continue;
        ++report_.fetched_layers;
      }
      if (planned.is_in_parts()) LAMINA_RETURN_IF_ERROR(named(plan_parts(planned)));
      const bool arrives = start_ != nullptr && file.storage == FileStorage::kLayer;
      (arrives ? arriving_ : planned_).push_back(std::move(planned));
    }
    return {};
  }

  /// What the layers and files that are to be fetched will take.
  [[nodiscard]] std::uint64_t bytes_to_come() const {
    std::uint64_t blocks = 0;
    for (const auto* files : {&planned_, &arriving_}) {
      for (const PlannedFile& planned : *files) blocks += planned.data_blocks();
    }
    return blocks * kBlockBytes;
  }

  static Status plan_parts(PlannedFile& planned) {
    const ManifestFile& file = *planned.file;
    auto plan = plan_file(file.parted, file.contents.size_bytes, planned.readers);
    if (!plan) {
      return std::unexpected(
          with_context(fmt::format("file '{}'", escaped_value(file.name)), plan.error()));
    }
    planned.parts = std::move(*plan);
    return {};
  }

  /// The indexes that are not in the manifest.
  Result<std::map<const StoredObject*, std::vector<std::byte>>> fetch_indexes() {
    std::vector<const StoredObject*> objects;
    std::vector<object_store::Request> requests;
    for (const ManifestFile& file : manifest_.files) {
      for (const StoredObject* object : file.objects()) {
        if (!object->index.empty()) continue;
        const Reference& reference = manifest_.reference_of(*object);
        LAMINA_ASSIGN_OR_RETURN(const packed::ObjectFooter footer,
                                packed::decode_object_footer(object->footer, reference.size_bytes));
        objects.push_back(object);
        requests.push_back(get_request(reference.key, footer.index_bytes));
        requests.back().range = {footer.index_range().offset, footer.index_bytes};
      }
    }
    std::vector<Answer> answers = run_all(store_, std::move(requests));
    std::map<const StoredObject*, std::vector<std::byte>> indexes;
    for (std::size_t i = 0; i < objects.size(); ++i) {
      LAMINA_RETURN_IF_ERROR(strict_status(answers[i]));
      indexes.emplace(objects[i], std::move(answers[i].bytes));
    }
    return indexes;
  }

  Status check_layer_name(const ManifestFile& file, const packed::PackReader& reader) {
    const Uuid& build_id = reader.index().trailer.build_id;
    if (file.name != store::layer_file_name(build_id)) {
      return fail(ErrorKind::kCorrupt, "its layer {} has the name '{}'", build_id.to_string(),
                  escaped_value(file.name));
    }
    layers_.insert(build_id);
    return {};
  }

  Result<bool> link_layer(const LayerSearch& search, const packed::PackReader& reader,
                          const Staging& staging) {
    const auto found = search.find(reader.index());
    if (!found) return false;
    const Result<bool> linked =
        store::link_layer(found->layer, found->directory.get(), staging.fd(), staging.path());
    if (!linked) {
      // Damaged, or gone meanwhile: it is fetched instead.
      const std::string name = store::layer_file_name(found->layer.build_id());
      LAMINA_RETURN_IF_ERROR(os::remove_file(staging.fd(), name, staging.file_path(name)));
      return false;
    }
    ++report_.linked_layers;
    return true;
  }

  [[nodiscard]] Status write_small_files(const Staging& staging) const {
    for (const ManifestFile& file : manifest_.files) {
      if (file.storage != FileStorage::kInline) continue;
      LAMINA_ASSIGN_OR_RETURN(const os::Fd created, create(file, staging));
      const std::string path = staging.file_path(file.name);
      LAMINA_RETURN_IF_ERROR(os::write_at(created.get(), file.bytes, 0, path));
      LAMINA_RETURN_IF_ERROR(os::sync(created.get(), path));
    }
    return {};
  }

  static Result<os::Fd> create(const ManifestFile& file, const Staging& staging) {
    const std::string path = staging.file_path(file.name);
    LAMINA_ASSIGN_OR_RETURN(
        os::Fd created,
        os::open_at(staging.fd(), file.name, O_RDWR | O_CREAT | O_EXCL, path, kOwnFileMode));
    // Before the sync of the contents, which is one of the mode too.
    LAMINA_RETURN_IF_ERROR(os::set_mode(created.get(), mode_of_file(file), path));
    return created;
  }

  /// Small objects first: the VM state comes before the layers.
  Status unpack_planned(const Staging& staging) {
    std::ranges::sort(planned_, {}, [](const PlannedFile& planned) {
      return std::pair(planned.file->storage == FileStorage::kLayer, planned.file);
    });
    std::vector<StreamedObject> streamed;
    for (PlannedFile& planned : planned_) {
      planned.streamed = streamed.size();
      const std::vector<const StoredObject*> objects = planned.file->objects();
      for (std::size_t i = 0; i < objects.size(); ++i) {
        streamed.push_back({manifest_.reference_of(*objects[i]).key, planned.bytes_to_read(i)});
      }
      report_.data_bytes += planned.data_blocks() * kBlockBytes;
    }
    if (options_.progress != nullptr) options_.progress->begin("pulling", report_.data_bytes);
    ObjectStream stream(bucket_, std::move(streamed), options_.progress);
    for (const PlannedFile& planned : planned_) {
      LAMINA_ASSIGN_OR_RETURN(const os::Fd file, create(*planned.file, staging));
      LAMINA_RETURN_IF_ERROR(
          named(unpack(planned, stream, file.get(), staging.file_path(planned.file->name))));
    }
    report_.fetched_bytes += stream.fetched_bytes();
    return {};
  }

  /// Layers that arrive are protected before anything depends on that. Unprotected ones are
  /// fetched.
  Status begin_layers(const Staging& staging) {
    if (arriving_.empty()) return {};
    LAMINA_ASSIGN_OR_RETURN(const bool is_protected, start_->finish_protection(store_));
    if (!is_protected) {
      planned_ = std::exchange(arriving_, {});
      return unpack_planned(staging);
    }
    for (const PlannedFile& layer : arriving_) {
      LAMINA_ASSIGN_OR_RETURN(const os::Fd file, create(*layer.file, staging));
      LAMINA_RETURN_IF_ERROR(begin_arriving_layer(layer.readers.front(), file.get(),
                                                  staging.file_path(layer.file->name)));
    }
    return {};
  }

  Status unpack(const PlannedFile& planned, ObjectStream& stream, int fd, const std::string& path) {
    std::vector<packed::Source> sources;
    sources.reserve(planned.readers.size());
    for (std::size_t i = 0; i < planned.readers.size(); ++i) {
      sources.push_back(stream.source_of(planned.streamed + i));
    }
    if (!planned.is_in_parts()) {
      return packed::unpack_object(planned.readers.front(), sources.front(), fd, path,
                                   options_.progress);
    }
    const Status assembled = assemble_file(planned.parts, planned.readers, sources,
                                           {fd, path, planned.file->contents}, options_.progress);
    if (assembled || assembled.error().kind != ErrorKind::kCorrupt) return assembled;
    return std::unexpected(with_context(fmt::format("file '{}'", escaped_value(planned.file->name)),
                                        assembled.error()));
  }

  [[nodiscard]] Status make_links(const Staging& staging) const {
    for (const ManifestFile& file : manifest_.files) {
      if (file.storage != FileStorage::kLink) continue;
      const std::string& target = manifest_.files[file.target].name;
      const std::string path = staging.file_path(file.name);
      LAMINA_ASSIGN_OR_RETURN(
          const os::OpenedFile opened,
          os::open_regular(staging.fd(), target, O_RDONLY | O_NOFOLLOW, staging.file_path(target)));
      LAMINA_ASSIGN_OR_RETURN(const bool is_linked,
                              os::link_descriptor(opened.fd.get(), staging.fd(), file.name, path));
      if (!is_linked) {
        return fail(ErrorKind::kUnsupported, "'{}' cannot be linked to '{}' here", path, target);
      }
    }
    return {};
  }

  /// Opens the finished directory as any reader will.
  Status check(const Staging& staging) {
    LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot snapshot,
                            store::open_snapshot(staging.path(), engine::Checksums::kSkip));
    const auto ids = snapshot.header.mapping.layers();
    const bool has_all =
        std::ranges::all_of(ids, [&](const Uuid& id) { return layers_.contains(id); });
    if (!has_all || ids.size() != layers_.size()) {
      return fail(ErrorKind::kCorrupt, "it has {} layers, and its header names {}", layers_.size(),
                  ids.size());
    }
    if (snapshot.pause_id != manifest_.record.pause_id) {
      return fail(ErrorKind::kCorrupt, "it is of pause {}, but its header of pause {}",
                  manifest_.record.pause_id.to_string(), snapshot.pause_id.to_string());
    }
    LAMINA_RETURN_IF_ERROR(store::check_vmstate(snapshot));
    report_.pause_id = snapshot.pause_id;
    report_.generation = snapshot.header.generation;
    report_.memory_bytes = snapshot.header.memory_bytes;
    return {};
  }

  object_store::ObjectStore& bucket_;
  const PullOptions& options_;
  packed::KeyWrapper* tenant_;
  Bucket store_;
  store::SnapshotPath target_;
  Manifest manifest_;
  std::vector<std::byte> record_bytes_;  ///< of manifest_
  std::vector<PlannedFile> planned_;
  ArrivalStart* start_ = nullptr;      ///< null: everything is fetched
  bool is_arriving_ = false;           ///< the arrival was published
  std::vector<PlannedFile> arriving_;  ///< layers
  std::set<Uuid> layers_;
  PullReport report_;
};

}  // namespace

Result<PullReport> pull(object_store::ObjectStore& bucket, const PullOptions& options,
                        packed::KeyWrapper* tenant) {
  return contain("pull", [&] { return Pull(bucket, options, tenant).run(); });
}

Result<LazyPullReport> pull_lazily(object_store::ObjectStore& bucket,
                                   const LazyPullOptions& options, packed::KeyWrapper* tenant) {
  return contain("pull", [&] {
    ArrivalStart start(options);
    return Pull(bucket, options.pull, tenant).run_lazily(start);
  });
}

}  // namespace lamina::remote
