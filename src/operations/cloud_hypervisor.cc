#include "lamina/cloud_hypervisor.h"

#include <fcntl.h>
#include <unistd.h>

#include <span>
#include <string_view>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "engine/materialize_data.h"
#include "operations/output_directory.h"
#include "operations/sharing.h"
#include "operations/snapshot_files.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/range_copy.h"
#include "store/snapshot_link.h"
#include "vmm/cloud_hypervisor/migration_message.h"
#include "vmm/cloud_hypervisor/vm_state.h"

namespace lamina {
namespace {

constexpr const char* kAttachedArea = "attached";
constexpr std::uint64_t kMaxSavedBytes = std::uint64_t{256} << 20;

Result<std::string> read_text(const std::string& path, std::uint64_t limit_bytes) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(file.fd.get(), limit_bytes, path));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

/// A file for the VM state while it is ingested.
class TemporaryFile {
 public:
  TemporaryFile() : path_(fmt::format("/tmp/lamina-{}.state", Uuid::random().to_string())) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  TemporaryFile(TemporaryFile&&) = delete;
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile() { ::unlink(path_.c_str()); }

  [[nodiscard]] const std::string& path() const { return path_; }

  [[nodiscard]] Status write(std::string_view text) const {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd file,
                            os::open_at(AT_FDCWD, path_, O_WRONLY | O_CREAT | O_EXCL, path_));
    return os::write_at(file.get(), std::as_bytes(std::span(text)), 0, path_);
  }

 private:
  std::string path_;
};

bool is_attached_file(const std::string& name) {
  return !store::is_own_file(name) && name != store::kVmstateName && name != store::kWorkingSetName;
}

Result<vmm::SavedVm> saved_vm_of(const store::OpenSnapshot& snapshot) {
  const std::string path = fmt::format("{}/{}", snapshot.path, store::kVmstateName);
  if (!snapshot.vmstate_file) {
    if (snapshot.vmstate_file.error().kind != ErrorKind::kNotFound) {
      return std::unexpected(snapshot.vmstate_file.error());
    }
    return with_remedy(
        fail(ErrorKind::kUnsupported, "snapshot '{}' has no VM state ({}), so no VMM can load it",
             snapshot.path, store::kVmstateName),
        "for the memory alone, run: lamina materialize {}", snapshot.path);
  }
  LAMINA_RETURN_IF_ERROR(store::check_vmstate(snapshot));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(snapshot.vmstate_file->fd.get(), kMaxSavedBytes, path));
  auto saved = vmm::decode_saved_vm(bytes);
  if (!saved) return std::unexpected(with_context(fmt::format("'{}'", path), saved.error()));
  return saved;
}

Status write_text(const operations::OutputDirectory& out, const char* name,
                  const std::string& text) {
  return os::write_new_file(out.fd(), name, std::as_bytes(std::span(text)),
                            fmt::format("{}/{}", out.path(), name));
}

Status copy_attached(const std::vector<operations::SnapshotFile>& files,
                     const operations::OutputDirectory& out, Progress* progress,
                     std::vector<std::string>& names) {
  if (files.empty()) return {};
  const std::string path = fmt::format("{}/{}", out.path(), kAttachedArea);
  LAMINA_RETURN_IF_ERROR(os::make_directory(out.fd(), kAttachedArea, path));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory,
                          os::open_directory(out.fd(), kAttachedArea, path));
  names.reserve(files.size());
  for (const operations::SnapshotFile& file : files) {
    const std::string copy_path = fmt::format("{}/{}", path, file.name);
    LAMINA_ASSIGN_OR_RETURN(
        const os::Fd copy,
        os::copy_to_new_file(file.opened.fd.get(), file.opened.facts.size_bytes, file.path,
                             directory.get(), file.name, copy_path, progress));
    LAMINA_RETURN_IF_ERROR(os::sync(copy.get(), copy_path));
    names.push_back(file.name);
  }
  return os::sync(directory.get(), path);
}

Result<CloudHypervisorExportReport> write_export(const CloudHypervisorExportOptions& options) {
  LAMINA_ASSIGN_OR_RETURN(
      const operations::SnapshotWithFiles opened,
      operations::open_with_files(options.snapshot, is_attached_file, "exported"));
  const store::OpenSnapshot& snapshot = opened.snapshot;
  LAMINA_ASSIGN_OR_RETURN(const vmm::SavedVm saved, saved_vm_of(snapshot));
  LAMINA_ASSIGN_OR_RETURN(const vmm::SnapshotFiles files, vmm::to_snapshot_files(saved));
  LAMINA_ASSIGN_OR_RETURN(operations::OutputDirectory out,
                          operations::OutputDirectory::create(options.out, "a directory"));
  CloudHypervisorExportReport report;
  report.pause_id = snapshot.pause_id;
  report.memory_bytes = snapshot.header.memory_bytes;
  report.vmm_version = saved.vmm_version;
  LAMINA_RETURN_IF_ERROR(write_text(out, vmm::kConfigFileName, files.config));
  LAMINA_RETURN_IF_ERROR(write_text(out, vmm::kStateFileName, files.state));
  const std::string path = fmt::format("{}/{}", out.path(), vmm::kMemoryRangesName);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd memory, os::open_at(out.fd(), vmm::kMemoryRangesName,
                                                           O_RDWR | O_CREAT | O_EXCL, path));
  engine::MaterializeTarget target;
  target.destination = memory.get();
  target.path = path;
  target.memory_bytes = snapshot.header.memory_bytes;
  target.sharing = operations::sharing_of(options.reflink);
  target.progress = options.progress;
  LAMINA_ASSIGN_OR_RETURN(const engine::MaterializedData data,
                          engine::materialize_data(snapshot.chain, target));
  report.data_bytes = data.cloned_bytes + data.copied_bytes;
  LAMINA_RETURN_IF_ERROR(os::sync(memory.get(), path));
  LAMINA_RETURN_IF_ERROR(copy_attached(opened.files, out, options.progress, report.attached));
  if (options.progress != nullptr && options.progress->interrupted()) {
    return fail(ErrorKind::kInterrupted, "interrupted");
  }
  LAMINA_RETURN_IF_ERROR(out.publish());
  return report;
}

Result<IngestReport> ingest_directory(const std::string& directory, IngestOptions options) {
  if (!options.memory_file.empty() || options.vmstate_file ||
      options.kind == MemoryFileKind::kDiff) {
    return fail(ErrorKind::kUsage,
                "'{}' is a whole snapshot: it is not a diff, and brings its memory and VM state",
                directory);
  }
  LAMINA_ASSIGN_OR_RETURN(
      std::string config,
      read_text(fmt::format("{}/{}", directory, vmm::kConfigFileName), vmm::kMaxConfigBytes));
  LAMINA_ASSIGN_OR_RETURN(
      std::string state,
      read_text(fmt::format("{}/{}", directory, vmm::kStateFileName), vmm::kMaxStateBytes));
  auto saved = vmm::from_snapshot_files({std::move(config), std::move(state)});
  if (!saved) return std::unexpected(with_context(fmt::format("'{}'", directory), saved.error()));
  const TemporaryFile file;
  LAMINA_RETURN_IF_ERROR(file.write(vmm::encode_saved_vm(*saved)));
  options.memory_file = fmt::format("{}/{}", directory, vmm::kMemoryRangesName);
  options.vmstate_file = file.path();
  options.kind = MemoryFileKind::kFull;
  return ingest(options);
}

}  // namespace

bool is_cloud_hypervisor_directory(const std::string& path) {
  return os::name_exists(AT_FDCWD, fmt::format("{}/{}", path, vmm::kMemoryRangesName));
}

Result<IngestReport> ingest_cloud_hypervisor(const std::string& directory,
                                             const IngestOptions& options) {
  return contain("ingest", [&] { return ingest_directory(directory, options); });
}

Result<CloudHypervisorExportReport> export_cloud_hypervisor(
    const CloudHypervisorExportOptions& options) {
  return contain("export", [&] { return write_export(options); });
}

}  // namespace lamina
