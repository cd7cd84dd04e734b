// The directory is built beside its later name. Everything in it is synced before the rename, so
// that what has the name can be loaded, also after a power failure.
#include <fcntl.h>

#include <cstddef>
#include <map>
#include <span>
#include <string_view>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "engine/materialize_data.h"
#include "format/checksum.h"
#include "lamina/export.h"
#include "operations/output_directory.h"
#include "operations/sharing.h"
#include "operations/snapshot_files.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/range_copy.h"
#include "store/huge_pages.h"
#include "store/snapshot_link.h"

namespace lamina {
namespace {

using operations::OutputDirectory;
using operations::SnapshotFile;
using operations::SnapshotWithFiles;
using store::OpenSnapshot;

// The names in Firecracker's own documentation.
constexpr const char* kStateFile = "snapshot_file";
constexpr const char* kMemoryFile = "mem_file";
constexpr const char* kAttachedDirectory = "attached";
constexpr const char* kLoadFile = "load.json";
constexpr const char* kReadmeFile = "README.md";
constexpr std::uint64_t kMaxStateBytes = std::uint64_t{256} << 20;

/// Fields that every supported Firecracker has: an unknown field is refused, and costs the
/// process. The paths count from Firecracker's working directory, so the directory can be moved.
constexpr std::string_view kLoadRequest = R"({
  "snapshot_path": "snapshot_file",
  "mem_backend": {
    "backend_type": "File",
    "backend_path": "mem_file"
  },
  "resume_vm": true
}
)";

constexpr std::string_view kReadme = R"(# A paused Firecracker microVM

Exported by lamina from a snapshot. To load it:

```
cd THIS-DIRECTORY
firecracker --api-sock api.sock &
curl --unix-socket api.sock -X PUT http://localhost/snapshot/load \
     -H 'Content-Type: application/json' -d @load.json
```

`load.json` lets the VM run; with `"resume_vm": false` it stays paused. Its paths count from the
working directory of Firecracker (in a jail: from the jail's root). Diff snapshots of the VM need
one more field: `"track_dirty_pages": true`; before Firecracker 1.13 `"enable_diff_snapshots": true`.

`mem_file` is mapped privately: Firecracker does not change it, and several VMs can be loaded from
it at a time. It must not be changed or cut while a VM that was loaded from it runs.

The VM state names disks, network devices and sockets of the host. They must exist under the same
names, and disks must have the contents that they had when the VM was paused. Files that were
attached to the snapshot are in `attached/`.
)";

using Inode = std::pair<std::uint64_t, std::uint64_t>;

bool is_attached(const std::string& name) {
  return !store::is_own_file(name) && name != store::kVmstateName && name != store::kWorkingSetName;
}

/// The VM state, compared with its digest.
Result<std::vector<std::byte>> read_state(const OpenSnapshot& snapshot) {
  const std::string path = fmt::format("{}/{}", snapshot.path, store::kVmstateName);
  if (!snapshot.vmstate_file) {
    if (snapshot.vmstate_file.error().kind != ErrorKind::kNotFound || snapshot.header.vmstate) {
      return std::unexpected(snapshot.vmstate_file.error());
    }
    return with_remedy(
        fail(ErrorKind::kUnsupported, "snapshot '{}' has no VM state ({}), so no VMM can load it",
             snapshot.path, store::kVmstateName),
        "for the memory alone, run: lamina materialize {}", snapshot.path);
  }
  LAMINA_ASSIGN_OR_RETURN(std::vector<std::byte> bytes,
                          os::read_whole(snapshot.vmstate_file->fd.get(), kMaxStateBytes, path));
  const auto& expected = snapshot.header.vmstate;
  if (expected && *expected != format::FileDigest{bytes.size(), format::digest128(bytes)}) {
    return fail(ErrorKind::kCorrupt,
                "'{}' does not match its digest: it is not the VM state that was stored; restore "
                "the file from a copy",
                path);
  }
  return bytes;
}

class FirecrackerExport {
 public:
  explicit FirecrackerExport(const FirecrackerExportOptions& options) : options_(options) {}

  Result<FirecrackerExportReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(
        const SnapshotWithFiles opened,
        operations::open_with_files(options_.snapshot, is_attached, "exported"));
    const OpenSnapshot& snapshot = opened.snapshot;
    LAMINA_RETURN_IF_ERROR(check_pages(snapshot));
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> state, read_state(snapshot));
    LAMINA_ASSIGN_OR_RETURN(OutputDirectory out,
                            OutputDirectory::create(options_.out, "a directory"));
    describe(snapshot, state.size());
    LAMINA_RETURN_IF_ERROR(write_file(out, kStateFile, state));
    LAMINA_RETURN_IF_ERROR(write_memory(snapshot, out));
    LAMINA_RETURN_IF_ERROR(copy_attached(opened.files, out));
    LAMINA_RETURN_IF_ERROR(write_file(out, kLoadFile, std::as_bytes(std::span(kLoadRequest))));
    LAMINA_RETURN_IF_ERROR(write_file(out, kReadmeFile, std::as_bytes(std::span(kReadme))));
    LAMINA_RETURN_IF_ERROR(check_interrupted());
    return out.publish();
  }

  [[nodiscard]] Status check_pages(const OpenSnapshot& snapshot) const {
    if (!snapshot.facts || snapshot.facts->origin.huge_pages != store::kHugetlbfsPages) return {};
    return with_remedy(fail(ErrorKind::kUnsupported,
                            "the memory of snapshot '{}' is on 2 MiB pages, and Firecracker does "
                            "not load such memory from a file",
                            options_.snapshot),
                       "resume it from the store, with `mode=uffd`");
  }

  [[nodiscard]] Status check_interrupted() const {
    if (options_.progress == nullptr || !options_.progress->interrupted()) return {};
    return fail(ErrorKind::kInterrupted, "interrupted");
  }

  void describe(const OpenSnapshot& snapshot, std::uint64_t vmstate_bytes) {
    report_.pause_id = snapshot.pause_id;
    report_.memory_bytes = snapshot.header.memory_bytes;
    report_.vmstate_bytes = vmstate_bytes;
    if (snapshot.facts) report_.vmm_version = snapshot.facts->origin.vmm_version;
    if (!snapshot.header.vmstate) {
      report_.notes.emplace_back("the VM state was not checked: the snapshot has no digest of it");
    }
    for (const engine::Layer& layer : snapshot.chain.layers()) {
      if (layer.trailer()) continue;
      report_.notes.push_back(
          fmt::format("layer '{}' was not checked: it has no checksums", layer.path()));
    }
  }

  static Status write_file(const OutputDirectory& out, const char* name,
                           std::span<const std::byte> bytes) {
    return os::write_new_file(out.fd(), name, bytes, fmt::format("{}/{}", out.path(), name));
  }

  Status write_memory(const OpenSnapshot& snapshot, const OutputDirectory& out) {
    const std::string path = fmt::format("{}/{}", out.path(), kMemoryFile);
    LAMINA_ASSIGN_OR_RETURN(const os::Fd file,
                            os::open_at(out.fd(), kMemoryFile, O_RDWR | O_CREAT | O_EXCL, path));
    engine::MaterializeTarget target;
    target.destination = file.get();
    target.path = path;
    target.memory_bytes = snapshot.header.memory_bytes;
    target.sharing = operations::sharing_of(options_.reflink);
    target.progress = options_.progress;
    LAMINA_ASSIGN_OR_RETURN(const engine::MaterializedData data,
                            engine::materialize_data(snapshot.chain, target));
    report_.data_bytes = data.cloned_bytes + data.copied_bytes;
    report_.cloned_bytes = data.cloned_bytes;
    return os::sync(file.get(), path);
  }

  Status copy_attached(const std::vector<SnapshotFile>& files, const OutputDirectory& out) {
    if (files.empty()) return {};
    const std::string path = fmt::format("{}/{}", out.path(), kAttachedDirectory);
    LAMINA_ASSIGN_OR_RETURN(const bool made,
                            os::make_directory(out.fd(), kAttachedDirectory, path));
    static_cast<void>(made);  // the directory is new: nothing else is in it
    LAMINA_ASSIGN_OR_RETURN(const os::Fd directory,
                            os::open_directory(out.fd(), kAttachedDirectory, path));
    std::map<Inode, std::string> copied;
    report_.attached.reserve(files.size());
    for (const SnapshotFile& file : files) {
      const Inode inode{file.opened.facts.device, file.opened.facts.inode};
      const auto known = copied.find(inode);
      if (known == copied.end()) {
        LAMINA_RETURN_IF_ERROR(copy_one(file, directory.get(), path));
        copied.emplace(inode, file.name);
      } else {
        LAMINA_RETURN_IF_ERROR(link_one(known->second, file.name, directory.get(), path));
      }
      report_.attached.push_back(file.name);
    }
    return os::sync(directory.get(), path);
  }

  [[nodiscard]] Status copy_one(const SnapshotFile& file, int directory,
                                const std::string& directory_path) const {
    constexpr std::uint32_t kPermissions = 0777;
    const std::string path = fmt::format("{}/{}", directory_path, file.name);
    LAMINA_ASSIGN_OR_RETURN(
        const os::Fd copy,
        os::copy_to_new_file(file.opened.fd.get(), file.opened.facts.size_bytes, file.path,
                             directory, file.name, path, options_.progress));
    LAMINA_RETURN_IF_ERROR(os::set_mode(copy.get(), file.opened.facts.mode & kPermissions, path));
    return os::sync(copy.get(), path);
  }

  /// A second name of a file that was copied.
  static Status link_one(const std::string& first, const std::string& name, int directory,
                         const std::string& directory_path) {
    const std::string path = fmt::format("{}/{}", directory_path, name);
    LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile there,
                            os::open_regular(directory, first, O_RDONLY | O_NOFOLLOW, path));
    LAMINA_ASSIGN_OR_RETURN(const bool linked,
                            os::link_descriptor(there.fd.get(), directory, name, path));
    if (linked) return {};
    return fail(ErrorKind::kUnsupported,
                "'{}' cannot be made a hard link to '{}', as in the snapshot; choose a place on "
                "another file system",
                path, first);
  }

  const FirecrackerExportOptions& options_;
  FirecrackerExportReport report_;
};

}  // namespace

Result<FirecrackerExportReport> export_firecracker(const FirecrackerExportOptions& options) {
  return contain("export", [&] { return FirecrackerExport(options).run(); });
}

}  // namespace lamina
