#include "remote/remote_check.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "format/checksum.h"
#include "remote/base_file.h"
#include "remote/catalogue.h"
#include "remote/manifest.h"
#include "remote/object_stream.h"
#include "remote/requests.h"
#include "remote/working_set_pack.h"

namespace lamina::remote {
namespace {

using object_store::Answer;

/// The first ones; a bucket that has lost everything needs no more.
constexpr std::size_t kMaxProblems = 100;

class RemoteVerification {
 public:
  RemoteVerification(object_store::ObjectStore& bucket, const RemoteVerifyOptions& options,
                     packed::KeyWrapper* tenant)
      : bucket_(bucket), options_(options), tenant_(tenant), store_(bucket, options.progress) {}

  Result<RemoteVerifyReport> run() {
    LAMINA_RETURN_IF_ERROR(work());
    return std::move(report_);
  }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<ListedRecord> records, listed());
    std::size_t found = 0;
    for (const ListedRecord& record : records) {
      auto read = read_and_decode(store_, record.place);
      if (!read) {
        const bool is_gone = read.error().kind == ErrorKind::kNotFound;  // removed meanwhile
        if (!is_gone) LAMINA_RETURN_IF_ERROR(note(read.error()));
        continue;
      }
      if (!read->record().is_manifest()) continue;
      ++found;
      LAMINA_RETURN_IF_ERROR(check_snapshot(*read));
    }
    report_.snapshots = found;
    if (found > 0 || options_.name.empty() || !report_.is_intact()) return {};
    return fail(ErrorKind::kNotFound, "'{}' has no snapshot '{}'", bucket_.name_of(""),
                options_.name);
  }

  Result<std::vector<ListedRecord>> listed() {
    if (!options_.name.empty()) LAMINA_RETURN_IF_ERROR(check_name(options_.name));
    auto list =
        options_.name.empty() ? list_all_records(store_) : list_records(store_, options_.name);
    if (!list) return std::unexpected(list.error());
    return without_removed(std::move(list->records));
  }

  /// Records below a removal may miss objects.
  Result<std::vector<ListedRecord>> without_removed(std::vector<ListedRecord> records) {
    const std::vector<Result<PublicPart>> parts = read_public_parts(store_, records);
    std::map<std::string, std::uint64_t> removals;
    for (const Result<PublicPart>& part : parts) {
      if (!part || part->record.kind != RecordKind::kRemoval) continue;
      removals[part->record.place.name] = part->record.place.number;
    }
    std::erase_if(records, [&](const ListedRecord& record) {
      const auto removal = removals.find(record.place.name);
      return removal != removals.end() && record.place.number < removal->second;
    });
    return records;
  }

  /// Errors of the bucket's contents are noted; others end the check.
  Status note(const Error& error) {
    const bool is_of_contents =
        error.kind == ErrorKind::kCorrupt || error.kind == ErrorKind::kNotFound;
    if (!is_of_contents) return std::unexpected(error);
    if (report_.problems.size() < kMaxProblems) report_.problems.push_back(one_line(error));
    return {};
  }

  Status check_snapshot(const ReadRecord& read) {
    LAMINA_RETURN_IF_ERROR(check_sizes(read.record()));
    if (!options_.data) return {};
    auto manifest = decode_manifest(read.bytes, read.record().place, tenant_);
    if (!manifest) return note(manifest.error());
    return check_data(*manifest);
  }

  Status check_sizes(const Record& record) {
    std::vector<const Reference*> references;
    std::vector<object_store::Request> heads;
    for (const Reference& reference : record.references) {
      if (!sized_.insert(reference.key).second) continue;
      references.push_back(&reference);
      heads.push_back(head_request(reference.key));
    }
    const std::vector<Answer> answers = run_all(store_, std::move(heads));
    for (std::size_t i = 0; i < references.size(); ++i) {
      const Reference& reference = *references[i];
      ++report_.objects;
      report_.object_bytes += reference.size_bytes;
      const Status status = strict_status(answers[i]);
      if (!status) {
        LAMINA_RETURN_IF_ERROR(note(status.error()));
      } else if (answers[i].size_bytes != reference.size_bytes) {
        LAMINA_RETURN_IF_ERROR(
            note(Error{ErrorKind::kCorrupt,
                       fmt::format("object '{}' has {} bytes; record {} of '{}' says {}",
                                   reference.key, answers[i].size_bytes, record.place.number,
                                   record.place.name, reference.size_bytes)}));
      }
    }
    return {};
  }

  Status check_data(const Manifest& manifest) {
    for (const ManifestFile& file : manifest.files) {
      for (const StoredObject* object : file.objects()) {
        if (!read_.insert(manifest.reference_of(*object).key).second) continue;
        const Status checked = check_object(manifest, file.name, *object);
        if (!checked) LAMINA_RETURN_IF_ERROR(note(checked.error()));
      }
      if (file.storage != FileStorage::kParts) continue;
      // Its map and its digest: each part may be intact, and another one than it should be.
      const auto base = read_base_file(bucket_, manifest, file, options_.progress);
      if (!base) return std::unexpected(base.error());
      if (*base) continue;
      LAMINA_RETURN_IF_ERROR(note(
          Error{ErrorKind::kCorrupt,
                fmt::format("file '{}' of record {} of '{}': its parts do not have its contents",
                            file.name, manifest.record.place.number, manifest.record.place.name)}));
    }
    return check_pack(manifest);
  }

  Status check_pack(const Manifest& manifest) {
    if (!manifest.pack) return {};
    const StoredObject& object = manifest.pack->object;
    if (!read_.insert(manifest.reference_of(object).key).second) return {};
    const Status checked = check_object(manifest, "working set", object);
    if (!checked) return note(checked.error());
    const PackConsumer pass = [](BlockRun, std::span<const std::byte>,
                                 std::span<const std::uint64_t>) -> Status { return {}; };
    const auto fetched = fetch_pack(bucket_, manifest, pass, nullptr);
    return fetched ? Status() : note(fetched.error());
  }

  Status check_object(const Manifest& manifest, const std::string& file_name,
                      const StoredObject& object) {
    const Reference& reference = manifest.reference_of(object);
    ObjectStream stream(bucket_, {{reference.key, reference.size_bytes}}, options_.progress);
    std::vector<std::byte> index;
    LAMINA_ASSIGN_OR_RETURN(const packed::ObjectFooter footer,
                            packed::decode_object_footer(object.footer, reference.size_bytes));
    if (object.index.empty()) {
      Answer answer = store_.get_range(reference.key,
                                       {footer.index_range().offset, footer.index_range().length});
      LAMINA_RETURN_IF_ERROR(strict_status(answer));
      index = std::move(answer.bytes);
    }
    LAMINA_ASSIGN_OR_RETURN(const packed::PackReader reader, open_stored(manifest, object, index));
    if (options_.progress != nullptr) options_.progress->begin("verifying", reference.size_bytes);
    LAMINA_RETURN_IF_ERROR(check_frames(reader, stream));
    return check_tail(file_name, object, footer, stream);
  }

  Status check_frames(const packed::PackReader& reader, ObjectStream& stream) {
    LAMINA_ASSIGN_OR_RETURN(packed::FrameDecoder decoder, reader.make_decoder());
    std::vector<std::byte> stored;
    std::vector<std::byte> blocks;
    std::vector<std::uint64_t> checksums;
    for (std::uint32_t frame = 0; frame < reader.frame_count(); ++frame) {
      const std::uint32_t count = reader.blocks_of(frame).count;
      const ByteRange range = reader.frame_range(frame);
      stored.resize(range.length);
      blocks.resize(count * kBlockBytes);
      checksums.resize(count);
      LAMINA_RETURN_IF_ERROR(stream.read(0, range.offset, stored));
      LAMINA_RETURN_IF_ERROR(reader.decode(decoder, frame, stored, checksums, blocks));
      report_.checked_blocks += count;
      if (options_.progress != nullptr) options_.progress->advance(range.length);
    }
    return {};
  }

  /// The index and footer of the object, which a reader without the manifest needs.
  static Status check_tail(const std::string& file_name, const StoredObject& object,
                           const packed::ObjectFooter& footer, ObjectStream& stream) {
    std::vector<std::byte> index(footer.index_bytes);
    std::vector<std::byte> end(packed::kObjectFooterBytes);
    LAMINA_RETURN_IF_ERROR(stream.read(0, footer.index_range().offset, index));
    LAMINA_RETURN_IF_ERROR(stream.read(0, footer.index_range().end(), end));
    if (end == object.footer && format::checksum64(index) == footer.index_digest) return {};
    return fail(ErrorKind::kCorrupt,
                "the object of '{}' has another index or footer than its "
                "manifest says",
                file_name);
  }

  object_store::ObjectStore& bucket_;
  const RemoteVerifyOptions& options_;
  packed::KeyWrapper* tenant_;
  Bucket store_;
  std::set<std::string> sized_;
  std::set<std::string> read_;
  RemoteVerifyReport report_;
};

}  // namespace

Result<RemoteVerifyReport> verify(object_store::ObjectStore& bucket,
                                  const RemoteVerifyOptions& options, packed::KeyWrapper* tenant) {
  return contain("verify", [&] { return RemoteVerification(bucket, options, tenant).run(); });
}

}  // namespace lamina::remote
