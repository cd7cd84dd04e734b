#include "remote/push_objects.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "remote/layer_match.h"
#include "remote/requests.h"
#include "remote/upload.h"

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

/// Passes the bytes of an object to an upload, and keeps the last two pieces: index and footer.
class TailSink {
 public:
  explicit TailSink(Uploads& uploads) : uploads_(uploads) {}

  packed::Sink sink() {
    return [this](std::span<const std::byte> bytes) -> Status {
      index_.swap(footer_);
      footer_.assign(bytes.begin(), bytes.end());
      size_bytes_ += bytes.size();
      const Status written = uploads_.write(bytes);
      has_failed_ = has_failed_ || !written;
      return written;
    };
  }

  /// The object's description, without its key.
  [[nodiscard]] PushedObject object(const packed::PackedObject& packed) && {
    PushedObject object;
    object.reference.size_bytes = size_bytes_;
    object.reference.footer_digest = packed.footer_digest;
    object.footer = std::move(footer_);
    object.index = std::move(index_);
    return object;
  }
  /// True if the upload failed, not the reading.
  [[nodiscard]] bool has_failed() const { return has_failed_; }

 private:
  Uploads& uploads_;
  std::vector<std::byte> index_;
  std::vector<std::byte> footer_;
  std::uint64_t size_bytes_ = 0;
  bool has_failed_ = false;
};

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
    LAMINA_ASSIGN_OR_RETURN(const packed::PackSettings settings, settings_for(file, key));
    const auto packed = pack(file, settings, tail.sink());
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
    if (!file.layer) {
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
  [[nodiscard]] Result<packed::PackSettings> settings_for(const LocalFile& file,
                                                          const std::string& key) const {
    packed::PackSettings settings;
    settings.method = all_.settings_.method;
    settings.frame_blocks = all_.settings_.frame_blocks;
    if (settings.frame_blocks == 0) {
      const bool is_large = data_bytes_of(all_.local_, file) > kLargeLayerBytes;
      settings.frame_blocks = is_large ? kLargeLayerFrameBlocks : packed::kDefaultFrameBlocks;
    }
    settings.name = key;
    if (all_.settings_.is_sealed) {
      LAMINA_ASSIGN_OR_RETURN(settings.key, packed::DataKey::random());
    }
    return settings;
  }

  Result<packed::PackedObject> pack(const LocalFile& file, const packed::PackSettings& settings,
                                    packed::Sink sink) const {
    Progress* const progress = all_.settings_.progress;
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

PushObjects::PushObjects(object_store::ObjectStore& bucket, const LocalSnapshot& local,
                         UploadSettings settings)
    : bucket_(bucket), local_(local), settings_(settings), blocking_(bucket, settings.progress) {}

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
    LAMINA_RETURN_IF_ERROR(find_file(manifest, number));
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

std::vector<std::string> PushObjects::found_keys() const {
  std::vector<std::string> keys;
  keys.reserve(objects_.size());
  for (const auto& [number, object] : objects_) keys.push_back(object.reference.key);
  std::ranges::sort(keys);
  const auto repeated = std::ranges::unique(keys);
  keys.erase(repeated.begin(), repeated.end());
  return keys;
}

std::vector<Reference> PushObjects::found() const {
  std::vector<Reference> found;
  std::set<std::string> keys;
  found.reserve(objects_.size());
  for (const auto& [number, object] : objects_) {
    if (keys.insert(object.reference.key).second) found.push_back(object.reference);
  }
  return found;
}

void PushObjects::drop(const std::set<std::string>& keys) {
  std::erase_if(objects_, [&](const auto& object) {
    const bool is_dropped = keys.contains(object.second.reference.key);
    if (is_dropped) uploaded_.erase(object.first);
    return is_dropped;
  });
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
    if (!failure) return {};
  }
  return std::unexpected(*failure);
}

Status PushObjects::upload_round(const Uuid& push_id, const std::function<Status()>& between,
                                 std::optional<Error>& failure) {
  Round round(*this, push_id);
  for (std::size_t number = 0; number < local_.files.size(); ++number) {
    if (!needs_object(local_.files[number]) || objects_.contains(number)) continue;
    LAMINA_RETURN_IF_ERROR(between());
    LAMINA_RETURN_IF_ERROR(round.add(number));
  }
  return round.finish(failure);
}

void PushObjects::describe(Manifest& manifest) const {
  std::map<std::string, std::uint32_t> references;
  std::uint64_t indexes_bytes = 0;
  const auto stored = [&](const PushedObject& object) {
    auto& all = manifest.record.references;
    const auto [known, is_new] =
        references.emplace(object.reference.key, static_cast<std::uint32_t>(all.size()));
    if (is_new) all.push_back(object.reference);
    if (object.key) manifest.keys.emplace(object.reference.key, *object.key);
    StoredObject described{known->second, object.footer, {}};
    if (indexes_bytes + object.index.size() <= kMaxIndexesBytes) described.index = object.index;
    indexes_bytes += described.index.size();
    return described;
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
    } else {
      const PushedObject& object = objects_.at(number);
      described.storage = file.layer ? FileStorage::kLayer : FileStorage::kFile;
      described.object = stored(object);
      if (object.contents) described.contents = *object.contents;
    }
    manifest.files.push_back(std::move(described));
  }
}

std::uint64_t PushObjects::missing_bytes() const {
  std::uint64_t bytes = 0;
  for (std::size_t number = 0; number < local_.files.size(); ++number) {
    const bool is_missing = needs_object(local_.files[number]) && !objects_.contains(number);
    if (is_missing) bytes += data_bytes_of(local_, local_.files[number]);
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
  for (const auto& [number, object] : objects_) {
    if (!uploaded_.contains(number)) bytes += object.reference.size_bytes;
  }
  return bytes;
}

std::uint32_t PushObjects::reused_objects() const {
  return static_cast<std::uint32_t>(objects_.size() - uploaded_.size());
}

}  // namespace lamina::remote
