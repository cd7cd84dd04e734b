#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "base/escape.h"
#include "lamina/pack.h"
#include "operations/tenant_key.h"
#include "operations/with_store.h"
#include "os/directory.h"
#include "os/file.h"
#include "packed/object_io.h"
#include "packed/snapshot_reader.h"
#include "store/name.h"
#include "store/snapshot_directory.h"
#include "store/snapshot_link.h"
#include "store/staging.h"
#include "store/store.h"

namespace lamina {
namespace {

using store::Staging;

constexpr std::uint32_t kPrivateMode = 0600;
constexpr std::uint32_t kOwnerMayRead = 0400;

/// lamina's own files are private, whatever mode they had; attached files keep theirs.
std::uint32_t mode_of(const packed::SnapshotEntry& entry) {
  const bool is_own = entry.name == store::kHeaderName || entry.name == store::kFactsName ||
                      entry.name == store::kVmstateName || entry.name == store::kWorkingSetName;
  return is_own ? kPrivateMode : entry.mode | kOwnerMayRead;
}

/// True for names that a packed snapshot has no file of: those of unfinished files.
bool is_refused_name(const packed::SnapshotEntry& entry) {
  if (entry.kind == packed::EntryKind::kLayer) return false;  // compared with the layer's build id
  return store::is_own_file(entry.name) && entry.name != store::kHeaderName &&
         entry.name != store::kFactsName;
}

class Unpack {
 public:
  Unpack(const store::StoreSource& stores, const UnpackOptions& options)
      : stores_(stores), options_(options) {}

  Result<UnpackReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath target,
                            store::parse_snapshot_path(options_.snapshot));
    LAMINA_ASSIGN_OR_RETURN(const auto tenant,
                            operations::open_tenant_key(options_.key_file, options_.key_command));
    LAMINA_RETURN_IF_ERROR(open_file(tenant.get()));
    LAMINA_ASSIGN_OR_RETURN(const auto opened, stores_.open(target.store, report_.notes));
    const store::Store& store = *opened;
    LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store.lock(target.name));
    if (os::name_exists(store.fd(), target.name)) {
      return with_remedy(fail(ErrorKind::kExists, "'{}' already exists", target.path),
                         "choose another name for the snapshot");
    }
    report_.snapshot = target.path;
    LAMINA_ASSIGN_OR_RETURN(Staging staging,
                            Staging::create(store, store::Area::kTemporary, Uuid::random()));
    if (options_.progress != nullptr) options_.progress->begin("unpacking", data_bytes_);
    for (const packed::SnapshotEntry& entry : packed_->contents().entries) {
      LAMINA_RETURN_IF_ERROR(unpack_entry(entry, staging));
    }
    LAMINA_RETURN_IF_ERROR(named(check(staging)));
    if (options_.progress != nullptr && options_.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted");
    }
    return staging.publish_new(target.name);
  }

  /// `status`, with the file's name in front of an error that does not come from a system call.
  [[nodiscard]] Status named(const Status& status) const {
    if (status || status.error().error_number != 0 ||
        status.error().kind == ErrorKind::kInterrupted) {
      return status;
    }
    return std::unexpected(
        with_context(fmt::format("packed snapshot '{}'", options_.file), status.error()));
  }

  Status open_file(packed::KeyWrapper* tenant) {
    LAMINA_ASSIGN_OR_RETURN(file_,
                            os::open_regular(AT_FDCWD, options_.file, O_RDONLY, options_.file));
    report_.packed_bytes = file_.facts.size_bytes;
    source_ = [this](std::uint64_t offset, std::span<std::byte> into) {
      return os::read_exactly_at(file_.fd.get(), into, offset, options_.file);
    };
    return named([&]() -> Status {
      LAMINA_ASSIGN_OR_RETURN(
          packed_, packed::PackedSnapshot::open(source_, file_.facts.size_bytes, tenant));
      // All names and indexes are checked before anything is written.
      for (const packed::SnapshotEntry& entry : packed_->contents().entries) {
        LAMINA_RETURN_IF_ERROR(check_entry(entry));
      }
      return {};
    }());
  }

  Status check_entry(const packed::SnapshotEntry& entry) {
    if (is_refused_name(entry)) {
      return fail(ErrorKind::kCorrupt, "it has a file '{}', which no snapshot has",
                  escaped_value(entry.name));
    }
    if (entry.kind == packed::EntryKind::kLink) {
      ++report_.files;
      return {};
    }
    LAMINA_ASSIGN_OR_RETURN(const packed::PackReader reader, packed_->open_entry(source_, entry));
    data_bytes_ += reader.index().stored_blocks() * kBlockBytes;
    if (entry.kind != packed::EntryKind::kLayer) {
      ++report_.files;
      return {};
    }
    ++report_.layers;
    const Uuid& build_id = reader.index().trailer.build_id;
    if (entry.name == store::layer_file_name(build_id)) {
      layers_.insert(build_id);
      return {};
    }
    return fail(ErrorKind::kCorrupt, "its layer {} has the name '{}'", build_id.to_string(),
                escaped_value(entry.name));
  }

  Status unpack_entry(const packed::SnapshotEntry& entry, const Staging& staging) {
    const std::string path = staging.file_path(entry.name);
    if (entry.kind == packed::EntryKind::kLink) return link(entry, staging, path);
    LAMINA_ASSIGN_OR_RETURN(
        const os::Fd file,
        os::open_at(staging.fd(), entry.name, O_RDWR | O_CREAT | O_EXCL, path, kPrivateMode));
    // Before the sync of the contents, which is one of the mode too.
    if (entry.kind == packed::EntryKind::kFile) {
      LAMINA_RETURN_IF_ERROR(os::set_mode(file.get(), mode_of(entry), path));
    }
    LAMINA_RETURN_IF_ERROR(named([&]() -> Status {
      LAMINA_ASSIGN_OR_RETURN(const packed::PackReader reader, packed_->open_entry(source_, entry));
      return packed::unpack_object(reader, packed::object_source(source_, entry), file.get(), path,
                                   options_.progress);
    }()));
    return {};
  }

  Status link(const packed::SnapshotEntry& entry, const Staging& staging, const std::string& path) {
    const std::string& target = packed_->contents().entries[entry.target].name;
    LAMINA_ASSIGN_OR_RETURN(
        const os::OpenedFile opened,
        os::open_regular(staging.fd(), target, O_RDONLY | O_NOFOLLOW, staging.file_path(target)));
    LAMINA_ASSIGN_OR_RETURN(const bool linked,
                            os::link_descriptor(opened.fd.get(), staging.fd(), entry.name, path));
    if (linked) return {};
    return fail(ErrorKind::kUnsupported, "'{}' cannot be linked to '{}' here", path, target);
  }

  /// Opens the finished directory as any reader will.
  Status check(const Staging& staging) {
    LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot snapshot,
                            store::open_snapshot(staging.path(), engine::Checksums::kSkip));
    const auto ids = snapshot.header.mapping.layers();
    const bool has_all =
        std::all_of(ids.begin(), ids.end(), [&](const Uuid& id) { return layers_.contains(id); });
    if (!has_all || ids.size() != layers_.size()) {
      return fail(ErrorKind::kCorrupt, "it has {} layers, and its header names {}", layers_.size(),
                  ids.size());
    }
    if (snapshot.pause_id != packed_->contents().pause_id) {
      return fail(ErrorKind::kCorrupt, "it is of pause {}, but its header of pause {}",
                  packed_->contents().pause_id.to_string(), snapshot.pause_id.to_string());
    }
    LAMINA_RETURN_IF_ERROR(store::check_vmstate(snapshot));
    report_.pause_id = snapshot.pause_id;
    report_.generation = snapshot.header.generation;
    report_.memory_bytes = snapshot.header.memory_bytes;
    report_.data_bytes = data_bytes_;
    return {};
  }

  const store::StoreSource& stores_;
  const UnpackOptions& options_;
  os::OpenedFile file_;
  packed::Source source_;
  std::optional<packed::PackedSnapshot> packed_;
  std::set<Uuid> layers_;
  std::uint64_t data_bytes_ = 0;
  UnpackReport report_;
};

}  // namespace

Result<UnpackReport> operations::unpack_snapshot(const store::StoreSource& stores,
                                                 const UnpackOptions& options) {
  return contain("unpack", [&] { return Unpack(stores, options).run(); });
}

Result<UnpackReport> unpack_snapshot(const UnpackOptions& options) {
  return operations::unpack_snapshot({}, options);
}

}  // namespace lamina
