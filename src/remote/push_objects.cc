#include "remote/push_objects.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "remote/layer_match.h"
#include "remote/requests.h"
#include "remote/tail_sink.h"
#include "remote/upload.h"
#include "remote/working_set_pack.h"

namespace lamina::remote {
namespace {

using object_store::Answer;

constexpr int kUploadRounds = 5;
constexpr std::chrono::milliseconds kFirstRoundPause{200};
/// Layers above this are packed in larger frames, which make the index smaller.
constexpr std::uint64_t kLargeLayerBytes = std::uint64_t{256} << 20;
constexpr std::uint32_t kLargeLayerFrameBlocks = 32;
/// Indexes are in the manifest up to this sum; further ones are only in their objects.
constexpr std::uint64_t kMaxIndexesBytes = std::uint64_t{6} << 20;
/// A larger index of a part of an attached file is not in the manifest: no guest waits for it.
constexpr std::size_t kMaxPartIndexBytes = std::size_t{64} << 10;

/// True for failures of an upload after which another attempt may succeed.
bool is_worth_another_round(const Error& error) {
  return error.kind == ErrorKind::kFailed || error.kind == ErrorKind::kCorrupt ||
         error.kind == ErrorKind::kNotFound;
}

}  // namespace

/// One round of uploads.
class PushObjects::Round {
 public:
  Round(PushObjects& all, const Uuid& push_id)
      : all_(all),
        push_id_(push_id),
        uploads_(all.bucket_, all.settings_.progress, all.settings_.rate_limit_bytes_s) {}

  /// Fails if a file cannot be read, or the upload cannot be repeated.
  Status add(std::size_t number) {
    const LocalFile& file = all_.local_.files[number];
    const std::string key = all_.next_key(file, push_id_);
    TailSink tail(uploads_);
    uploads_.begin(key);
    numbers_.push_back(number);
    LAMINA_ASSIGN_OR_RETURN(const packed::PackSettings settings, settings_for(number, key));
    const auto packed = pack(number, settings, tail.sink());
    if (!packed) {
      uploads_.drop();
      objects_.emplace_back();
      if (!tail.has_failed() || !is_worth_another_round(packed.error())) {
        return std::unexpected(packed.error());
      }
      failures_[numbers_.size() - 1] = packed.error();
      return {};
    }
    PushedObject object = std::move(tail).object(*packed);
    object.reference.key = key;
    object.key = settings.key;
    if (!file.layer && !file.is_in_parts()) {
      LAMINA_ASSIGN_OR_RETURN(const format::FileDigest* digest, all_.digest_of_file(number));
      object.contents = *digest;
    }
    objects_.push_back(std::move(object));
    static_cast<void>(uploads_.end());  // finish() has its error
    return {};
  }

  Status finish(std::optional<Error>& failure) {
    const std::vector<Status> results = uploads_.finish();
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (results[i]) {
        take(numbers_[i], std::move(objects_[i]));
        continue;
      }
      const auto known = failures_.find(i);
      failure = known == failures_.end() ? results[i].error() : known->second;
      if (!is_worth_another_round(*failure)) return std::unexpected(*failure);
    }
    return {};
  }

 private:
  [[nodiscard]] Result<packed::PackSettings> settings_for(std::size_t number,
                                                          const std::string& key) const {
    packed::PackSettings settings;
    settings.method = all_.settings_.method;
    settings.frame_blocks = all_.settings_.frame_blocks;
    if (settings.frame_blocks == 0) {
      const bool is_large = all_.bytes_to_send(number) > kLargeLayerBytes;
      settings.frame_blocks = is_large ? kLargeLayerFrameBlocks : packed::kDefaultFrameBlocks;
    }
    settings.name = key;
    if (all_.settings_.is_sealed) {
      LAMINA_ASSIGN_OR_RETURN(settings.key, packed::DataKey::random());
    }
    return settings;
  }

  Result<packed::PackedObject> pack(std::size_t number, const packed::PackSettings& settings,
                                    packed::Sink sink) const {
    const LocalFile& file = all_.local_.files[number];
    Progress* const progress = all_.settings_.progress;
    if (file.is_in_parts()) {
      return all_.differences_.at(number).pack(settings, std::move(sink), progress);
    }
    if (file.layer) {
      return packed::pack_layer(all_.local_.snapshot.chain, *file.layer, settings, std::move(sink),
                                progress);
    }
    const packed::PackedFileInput input{file.opened.fd.get(), file.opened.facts.size_bytes,
                                        all_.path_of(file), file.runs};
    return packed::pack_file(input, settings, std::move(sink), progress);
  }

  void take(std::size_t number, PushedObject object) {
    all_.uploaded_bytes_ += object.reference.size_bytes;
    ++all_.uploaded_objects_;
    all_.objects_.insert_or_assign(number, std::move(object));
    all_.uploaded_.insert(number);
  }

  PushObjects& all_;
  const Uuid& push_id_;
  Uploads uploads_;
  std::vector<std::size_t> numbers_;
  std::vector<PushedObject> objects_;  ///< parallel to numbers_
  std::map<std::size_t, Error> failures_;
};

/// An object in the bucket that the manifest will reference.
struct PushObjects::FoundObject {
  std::size_t number = 0;  ///< of the local file
  bool is_kept_part = false;
  const Reference* reference = nullptr;
};

PushObjects::PushObjects(object_store::ObjectStore& bucket, const LocalSnapshot& local,
                         UploadSettings settings)
    : bucket_(bucket), local_(local), settings_(settings), blocking_(bucket, settings.progress) {
  const auto in_parts =
      static_cast<std::size_t>(std::ranges::count_if(local.files, &LocalFile::is_in_parts));
  for (std::size_t number = 0; number < local.files.size(); ++number) {
    const LocalFile& file = local.files[number];
    if (!file.is_in_parts()) continue;
    differences_.emplace(number, FileDifference(file, path_of(file), kMaxPushedRuns / in_parts));
  }
}

bool PushObjects::is_missing(std::size_t number) const {
  if (!needs_object(local_.files[number]) || objects_.contains(number)) return false;
  const auto difference = differences_.find(number);
  return difference == differences_.end() || difference->second.changed_blocks() > 0;
}

std::uint64_t PushObjects::bytes_to_send(std::size_t number) const {
  const auto difference = differences_.find(number);
  if (difference == differences_.end()) return data_bytes_of(local_, local_.files[number]);
  return difference->second.changed_blocks() * kBlockBytes;
}

std::string PushObjects::path_of(const LocalFile& file) const {
  return local_.snapshot.path + "/" + file.name;
}

const format::Trailer& PushObjects::trailer_of(const LocalFile& file) const {
  return *local_.snapshot.chain.layer(*file.layer).trailer();
}

std::string PushObjects::next_key(const LocalFile& file, const Uuid& push_id) {
  const std::uint32_t number = next_number_++;
  return file.layer ? layer_key(trailer_of(file).build_id, push_id, number)
                    : file_key(local_.snapshot.pause_id, push_id, number);
}

Result<const format::FileDigest*> PushObjects::digest_of_file(std::size_t number) {
  const auto known = digests_.find(number);
  if (known != digests_.end()) return &known->second;
  const LocalFile& file = local_.files[number];
  LAMINA_ASSIGN_OR_RETURN(const format::FileDigest digest,
                          digest_of(file, path_of(file), settings_.progress));
  return &digests_.emplace(number, digest).first->second;
}

Status PushObjects::find_in(const Manifest& manifest) {
  const bool is_sealed = !manifest.keys.empty();
  if (is_sealed != settings_.is_sealed) return {};
  for (std::size_t number = 0; number < local_.files.size(); ++number) {
    if (!needs_object(local_.files[number]) || objects_.contains(number)) continue;
    LAMINA_RETURN_IF_ERROR(differences_.contains(number) ? find_base(manifest, number)
                                                         : find_file(manifest, number));
  }
  return {};
}

/// The file to compare with: of the same name; else of the same contents; else of the same size, if
/// the snapshot has no longer a file of its name.
const ManifestFile* PushObjects::base_for(const Manifest& manifest, std::size_t number) const {
  const auto is_name = [&](const std::string& name) {
    return [&](const auto& file) { return file.name == name; };
  };
  const LocalFile& file = local_.files[number];
  const format::FileDigest& contents = differences_.at(number).contents();
  const ManifestFile* same_contents = nullptr;
  const ManifestFile* renamed = nullptr;
  for (const ManifestFile& there : manifest.files) {
    if (there.storage != FileStorage::kParts) continue;
    if (there.name == file.name) return &there;
    if (there.contents == contents) same_contents = &there;
    const bool is_left = std::ranges::none_of(local_.files, is_name(there.name));
    if (is_left && there.contents.size_bytes == contents.size_bytes) renamed = &there;
  }
  return same_contents != nullptr ? same_contents : renamed;
}

Status PushObjects::find_base(const Manifest& manifest, std::size_t number) {
  FileDifference& difference = differences_.at(number);
  const bool has_any = std::ranges::any_of(
      manifest.files, [](const ManifestFile& file) { return file.storage == FileStorage::kParts; });
  if (!has_any || difference.has_base()) return {};
  LAMINA_RETURN_IF_ERROR(difference.scan(settings_.progress));
  const ManifestFile* const file = base_for(manifest, number);
  if (file == nullptr) return {};
  LAMINA_ASSIGN_OR_RETURN(std::optional<BaseFile> base,
                          read_base_file(bucket_, manifest, *file, settings_.progress));
  if (base) difference.compare(std::move(*base));
  return {};
}

bool PushObjects::needs_base() const {
  return std::ranges::any_of(differences_,
                             [](const auto& known) { return !known.second.has_base(); });
}

Status PushObjects::scan_files() {
  for (auto& [number, difference] : differences_) {
    LAMINA_RETURN_IF_ERROR(difference.scan(settings_.progress));
  }
  return {};
}

Status PushObjects::find_file(const Manifest& manifest, std::size_t number) {
  const LocalFile& file = local_.files[number];
  for (const ManifestFile& there : manifest.files) {
    if (!there.has_object() || file.layer.has_value() != (there.storage == FileStorage::kLayer)) {
      continue;
    }
    std::optional<PushedObject> match;
    if (file.layer) {
      if (there.name != file.name) continue;
      LAMINA_ASSIGN_OR_RETURN(match, match_layer(manifest, there, file));
    } else if (there.contents.size_bytes == file.opened.facts.size_bytes) {
      LAMINA_ASSIGN_OR_RETURN(const format::FileDigest* digest, digest_of_file(number));
      if (*digest != there.contents) continue;
      match = PushedObject{manifest.reference_of(there), there.object.footer, there.object.index,
                           std::nullopt, there.contents};
    }
    if (!match) continue;
    const auto key = manifest.keys.find(match->reference.key);
    if (key != manifest.keys.end()) match->key = key->second;
    objects_.emplace(number, std::move(*match));
    return {};
  }
  return {};
}

Result<std::optional<PushedObject>> PushObjects::match_layer(const Manifest& manifest,
                                                             const ManifestFile& there,
                                                             const LocalFile& file) {
  std::vector<std::byte> index = there.object.index;
  const Reference& reference = manifest.reference_of(there);
  if (index.empty()) {
    LAMINA_ASSIGN_OR_RETURN(
        const packed::ObjectFooter footer,
        packed::decode_object_footer(there.object.footer, reference.size_bytes));
    const ByteRange range = footer.index_range();
    Answer answer = blocking_.get_range(reference.key, {range.offset, range.length});
    if (!answer.ok()) return std::nullopt;  // it is uploaded instead
    index = std::move(answer.bytes);
  }
  const auto reader = open_stored(manifest, there, index);
  if (!reader || !is_same_layer(trailer_of(file), reader->index())) return std::nullopt;
  return PushedObject{reference, there.object.footer, std::move(index), std::nullopt, std::nullopt};
}

Status PushObjects::find_by_list() {
  if (settings_.is_sealed) return {};  // their keys are in manifests
  std::vector<std::size_t> numbers;
  std::vector<object_store::Request> lists;
  for (std::size_t number = 0; number < local_.files.size(); ++number) {
    const LocalFile& file = local_.files[number];
    if (!file.layer || objects_.contains(number)) continue;
    numbers.push_back(number);
    lists.push_back(list_request(layer_prefix(trailer_of(file).build_id), 1));
  }
  const std::vector<Answer> answers = run_all(blocking_, std::move(lists));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    LAMINA_RETURN_IF_ERROR(strict_status(answers[i]));
    if (answers[i].entries.empty()) continue;
    LAMINA_ASSIGN_OR_RETURN(auto match,
                            match_listed(answers[i].entries.front(), local_.files[numbers[i]]));
    if (match) objects_.emplace(numbers[i], std::move(*match));
  }
  return {};
}

Result<std::optional<PushedObject>> PushObjects::match_listed(const object_store::Entry& entry,
                                                              const LocalFile& file) {
  const std::uint64_t size = entry.size_bytes;
  if (!parse_object_key(entry.key) || size < packed::kObjectFooterBytes) return std::nullopt;
  Answer footer = blocking_.get_range(
      entry.key, {size - packed::kObjectFooterBytes, packed::kObjectFooterBytes});
  if (!footer.ok()) return std::nullopt;
  const auto decoded = packed::decode_object_footer(footer.bytes, size);
  if (!decoded) return std::nullopt;
  const ByteRange range = decoded->index_range();
  Answer index = blocking_.get_range(entry.key, {range.offset, range.length});
  if (!index.ok()) return std::nullopt;
  const auto reader =
      packed::PackReader::open(footer.bytes, index.bytes, size, {entry.key, std::nullopt});
  if (!reader || !is_same_layer(trailer_of(file), reader->index())) return std::nullopt;
  return PushedObject{{entry.key, size, reader->footer_digest()},
                      std::move(footer.bytes),
                      std::move(index.bytes),
                      std::nullopt,
                      std::nullopt};
}

std::vector<PushObjects::FoundObject> PushObjects::found_objects() const {
  std::vector<FoundObject> found;
  found.reserve(objects_.size() + differences_.size() * kMaxPushedParts);
  for (const auto& [number, object] : objects_) found.push_back({number, false, &object.reference});
  for (const auto& [number, difference] : differences_) {
    for (const BasePart* part : difference.kept_parts()) {
      found.push_back({number, true, &part->object.reference});
    }
  }
  return found;
}

std::vector<std::string> PushObjects::found_keys() const {
  std::vector<std::string> keys;
  const std::vector<FoundObject> found = found_objects();
  keys.reserve(found.size());
  for (const FoundObject& object : found) keys.push_back(object.reference->key);
  std::ranges::sort(keys);
  const auto repeated = std::ranges::unique(keys);
  keys.erase(repeated.begin(), repeated.end());
  return keys;
}

std::vector<Reference> PushObjects::found() const {
  std::vector<Reference> found;
  std::set<std::string> keys;
  for (const FoundObject& object : found_objects()) {
    if (keys.insert(object.reference->key).second) found.push_back(*object.reference);
  }
  return found;
}

/// A new part that was uploaded by an earlier attempt lacks the blocks of a part that is given up.
void PushObjects::forget(const FoundObject& found, const std::string& key) {
  if (found.is_kept_part) {
    FileDifference& difference = differences_.at(found.number);
    while (difference.give_up(key)) {
    }
  }
  objects_.erase(found.number);
  uploaded_.erase(found.number);
}

void PushObjects::drop(const std::set<std::string>& keys) {
  // What is dropped of one may be referred to by another one of the same file.
  std::vector<std::pair<FoundObject, std::string>> dropped;
  for (const FoundObject& object : found_objects()) {
    if (keys.contains(object.reference->key)) dropped.emplace_back(object, object.reference->key);
  }
  for (const auto& [object, key] : dropped) forget(object, key);
}

bool PushObjects::wants_pack() {
  if (pack_contents_) return pack_contents_->has_value();
  pack_contents_.emplace();
  auto planned = plan_pack(local_);
  if (planned) {
    *pack_contents_ = std::move(*planned);
  } else {
    notes_.push_back(
        fmt::format("no pack is made of the working set: {}", one_line(planned.error())));
  }
  return pack_contents_->has_value();
}

Status PushObjects::upload_pack(const Uuid& push_id) {
  pack_.reset();
  if (!wants_pack()) return {};
  const std::string key = pack_key(local_.snapshot.pause_id, push_id, next_number_++);
  auto uploaded = try_pack(key);
  if (uploaded) {
    uploaded_bytes_ += uploaded->reference.size_bytes;
    ++uploaded_packs_;
    pack_ = std::move(*uploaded);
    return {};
  }
  if (uploaded.error().kind == ErrorKind::kInterrupted) return std::unexpected(uploaded.error());
  notes_.push_back(
      fmt::format("the pack of the working set was not pushed: {}", one_line(uploaded.error())));
  return {};
}

Result<PushedObject> PushObjects::try_pack(const std::string& key) {
  packed::PackSettings settings;
  settings.method = settings_.method;
  settings.name = key;
  if (settings_.is_sealed) {
    LAMINA_ASSIGN_OR_RETURN(settings.key, packed::DataKey::random());
  }
  Uploads uploads(bucket_, settings_.progress, settings_.rate_limit_bytes_s);
  TailSink tail(uploads);
  uploads.begin(key);
  const auto packed = write_pack(local_.snapshot.chain, **pack_contents_, settings, tail.sink(),
                                 settings_.progress);
  if (!packed) {
    uploads.drop();
    static_cast<void>(uploads.finish());
    return std::unexpected(packed.error());
  }
  static_cast<void>(uploads.end());  // finish() has its error
  LAMINA_RETURN_IF_ERROR(uploads.finish().front());
  PushedObject object = std::move(tail).object(*packed);
  object.reference.key = key;
  object.key = settings.key;
  return object;
}

Status PushObjects::upload_missing(const Uuid& push_id, const std::function<Status()>& between) {
  std::optional<Error> failure;
  for (int round = 0; round < kUploadRounds; ++round) {
    if (round > 0) {
      // Ends early if something happens on the connection; it is only to let a moment pass.
      LAMINA_RETURN_IF_ERROR(bucket_.advance(kFirstRoundPause * (1 << (round - 1))));
    }
    failure.reset();
    LAMINA_RETURN_IF_ERROR(upload_round(push_id, between, failure));
    if (!failure) return upload_pack(push_id);
  }
  return std::unexpected(*failure);
}

Status PushObjects::upload_round(const Uuid& push_id, const std::function<Status()>& between,
                                 std::optional<Error>& failure) {
  Round round(*this, push_id);
  for (std::size_t number = 0; number < local_.files.size(); ++number) {
    if (!is_missing(number)) continue;
    LAMINA_RETURN_IF_ERROR(between());
    LAMINA_RETURN_IF_ERROR(round.add(number));
  }
  return round.finish(failure);
}

void PushObjects::describe(Manifest& manifest) const {
  std::map<std::string, std::uint32_t> references;
  std::uint64_t indexes_bytes = 0;
  const auto stored = [&](const PushedObject& object, std::size_t max_index_bytes) {
    auto& all = manifest.record.references;
    const auto [known, is_new] =
        references.emplace(object.reference.key, static_cast<std::uint32_t>(all.size()));
    if (is_new) all.push_back(object.reference);
    if (object.key) manifest.keys.emplace(object.reference.key, *object.key);
    StoredObject described{known->second, object.footer, {}};
    const bool has_room = indexes_bytes + object.index.size() <= kMaxIndexesBytes;
    if (has_room && object.index.size() <= max_index_bytes) described.index = object.index;
    indexes_bytes += described.index.size();
    return described;
  };
  const auto parted = [&](std::size_t number) {
    const FileDifference& difference = differences_.at(number);
    PartedFile file;
    for (const BasePart* part : difference.kept_parts()) {
      file.parts.push_back({stored(part->object, kMaxPartIndexBytes), part->data_blocks});
    }
    if (difference.changed_blocks() > 0) {
      file.parts.push_back(
          {stored(objects_.at(number), kMaxPartIndexBytes), difference.changed_blocks()});
    }
    file.map = difference.map();
    return file;
  };
  for (std::size_t number = 0; number < local_.files.size(); ++number) {
    const LocalFile& file = local_.files[number];
    ManifestFile described;
    described.name = file.name;
    described.mode = file.mode;
    if (file.target) {
      described.storage = FileStorage::kLink;
      described.target = *file.target;
    } else if (file.bytes) {
      described.bytes = *file.bytes;
    } else if (file.is_in_parts()) {
      described.storage = FileStorage::kParts;
      described.contents = differences_.at(number).contents();
      described.parted = parted(number);
    } else {
      const PushedObject& object = objects_.at(number);
      described.storage = file.layer ? FileStorage::kLayer : FileStorage::kFile;
      described.object = stored(object, kMaxIndexesBytes);
      if (object.contents) described.contents = *object.contents;
    }
    manifest.files.push_back(std::move(described));
  }
  if (pack_) manifest.pack = {stored(*pack_, kMaxIndexesBytes), **pack_contents_};
}

std::uint64_t PushObjects::missing_bytes() const {
  std::uint64_t bytes = 0;
  for (std::size_t number = 0; number < local_.files.size(); ++number) {
    if (is_missing(number)) bytes += bytes_to_send(number);
  }
  return bytes;
}

std::uint32_t PushObjects::missing_objects() const {
  std::uint32_t count = 0;
  for (std::size_t number = 0; number < local_.files.size(); ++number) {
    if (needs_object(local_.files[number]) && !objects_.contains(number)) ++count;
  }
  return count;
}

std::uint64_t PushObjects::reused_bytes() const {
  std::uint64_t bytes = 0;
  for (const FoundObject& found : found_objects()) {
    const bool is_reused = found.is_kept_part || !uploaded_.contains(found.number);
    if (is_reused) bytes += found.reference->size_bytes;
  }
  return bytes;
}

std::uint32_t PushObjects::reused_objects() const {
  return static_cast<std::uint32_t>(found_objects().size() - uploaded_.size());
}

}  // namespace lamina::remote
