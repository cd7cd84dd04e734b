#include "lamina/doctor.h"

#include <fcntl.h>

#include <algorithm>
#include <array>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "lamina/listing.h"
#include "lamina/serve.h"
#include "lamina/uuid.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/hole_probe.h"
#include "os/kernel_definitions.h"
#include "os/machine.h"
#include "os/owner.h"
#include "os/path_walk.h"
#include "os/range_copy.h"
#include "os/unix_socket.h"
#include "store/areas.h"
#include "store/store.h"

namespace lamina {
namespace {

/// Holes are tried in files of the size of a small guest and of a large one: in some file systems
/// the granularity depends on the size of the file.
constexpr std::array<std::uint64_t, 2> kProbedBytes = {std::uint64_t{1} << 20,
                                                       std::uint64_t{1} << 30};

/// Tries things in a new directory below the examined one.
class FileSystemExam {
 public:
  FileSystemExam(int directory, std::string path, Progress* progress,
                 std::vector<Finding>& findings)
      : directory_(directory), path_(std::move(path)), progress_(progress), findings_(findings) {}

  Status run() {
    const std::string name = ".lamina-doctor-" + Uuid::random().to_string();
    LAMINA_RETURN_IF_ERROR(os::make_directory(directory_, name, path_));
    const Status examined = [&]() -> Status {
      LAMINA_ASSIGN_OR_RETURN(own_, os::open_directory(directory_, name, path_));
      check_owner();
      check_socket_path();
      LAMINA_RETURN_IF_ERROR(try_holes());
      LAMINA_RETURN_IF_ERROR(try_exchange());
      LAMINA_RETURN_IF_ERROR(try_links());
      LAMINA_RETURN_IF_ERROR(try_copies());
      return {};
    }();
    own_.reset();
    LAMINA_RETURN_IF_ERROR(os::remove_tree(directory_, name, path_));
    return examined;
  }

 private:
  void add(std::string subject, Verdict verdict, std::string detail) {
    findings_.push_back({std::move(subject), verdict, std::move(detail)});
  }

  Status stop_if_interrupted() {
    if (progress_ == nullptr || !progress_->interrupted()) return {};
    return fail(ErrorKind::kInterrupted, "interrupted");
  }

  void check_owner() {
    const Status checked = os::check_store_owner(directory_, path_);
    if (checked) {
      add("owner", Verdict::kGood, "this user, and no other user may write to it");
    } else {
      add("owner", Verdict::kBad, one_line(checked.error()));
    }
  }

  void check_socket_path() {
    const auto real = os::real_path(path_);
    if (!real) return;
    const std::string socket = page_server_socket(*real);
    if (socket.size() <= os::kMaxSocketPathBytes) return;
    add("path", Verdict::kWarning,
        fmt::format("too long for Firecracker to connect to '{}' ({} bytes, at most {}): VMs are "
                    "resumed from files only",
                    socket, socket.size(), os::kMaxSocketPathBytes));
  }

  Status try_holes() {
    bool is_overlay = false;
    bool is_exact_when_preallocated = true;
    for (const std::uint64_t bytes : kProbedBytes) {
      LAMINA_RETURN_IF_ERROR(stop_if_interrupted());
      const auto probe = os::probe_holes(own_.get(), bytes, path_);
      if (!probe && probe.error().kind == ErrorKind::kNoSpace) {
        return std::unexpected(probe.error());  // not a finding about holes
      }
      if (!probe || !probe->is_exact) {
        add("holes", Verdict::kBad,
            !probe ? one_line(probe.error())
                   : fmt::format("not exact ({}): diffs written here cannot be ingested",
                                 probe->explanation));
        return {};
      }
      is_overlay = probe->is_overlay;
      is_exact_when_preallocated &= probe->is_exact_when_preallocated;
    }
    if (is_exact_when_preallocated) {
      add("holes", Verdict::kGood, "exact to 4 KiB; written zeros are told from holes");
    } else {
      add("holes", Verdict::kGood,
          "exact to 4 KiB; written zeros are told from holes, but not from preallocated storage: "
          "diffs that were written to preallocated files are refused");
    }
    if (is_overlay) {
      add("overlay", Verdict::kWarning,
          "what is in a lower layer cannot be renamed, and its holes cannot be tried out: diffs "
          "in a lower layer are refused, snapshots there cannot be replaced, merged or removed; "
          "put the store on a file system of its own");
    }
    return {};
  }

  Status try_exchange() {
    LAMINA_RETURN_IF_ERROR(stop_if_interrupted());
    const Status tried = [&]() -> Status {
      LAMINA_RETURN_IF_ERROR(os::make_directory(own_.get(), "a", path_));
      LAMINA_RETURN_IF_ERROR(os::make_directory(own_.get(), "b", path_));
      LAMINA_RETURN_IF_ERROR(os::rename_exchange(own_.get(), "a", own_.get(), "b", path_));
      LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(own_.get(), "a", path_));
      return os::sync(directory.get(), path_);
    }();
    if (!tried && tried.error().kind == ErrorKind::kNoSpace) return tried;
    if (tried) {
      add("exchange", Verdict::kGood, "directories can be exchanged atomically");
    } else {
      add("exchange", Verdict::kBad,
          one_line(tried.error()) + ": a snapshot could not be replaced atomically");
    }
    return {};
  }

  Status try_links() {
    LAMINA_RETURN_IF_ERROR(stop_if_interrupted());
    LAMINA_ASSIGN_OR_RETURN(file_,
                            os::open_at(own_.get(), "file", O_RDWR | O_CREAT | O_EXCL, path_));
    const std::vector<std::byte> data(16 * kBlockBytes, std::byte{1});
    LAMINA_RETURN_IF_ERROR(os::write_at(file_.get(), data, 0, path_));
    LAMINA_ASSIGN_OR_RETURN(const bool linked,
                            os::link_descriptor(file_.get(), own_.get(), "link", path_));
    if (linked) {
      add("links", Verdict::kGood, "snapshots can share layers by hard links");
    } else {
      add("links", Verdict::kWarning,
          "no hard links: every snapshot gets copies of its parent's layers");
    }
    return {};
  }

  Status try_copies() {
    LAMINA_RETURN_IF_ERROR(stop_if_interrupted());
    LAMINA_ASSIGN_OR_RETURN(const os::Fd copy,
                            os::open_at(own_.get(), "copy", O_RDWR | O_CREAT | O_EXCL, path_));
    LAMINA_ASSIGN_OR_RETURN(const bool cloned,
                            os::clone_range(file_.get(), 0, copy.get(), 0, kBlockBytes, path_));
    if (cloned) {
      add("reflink", Verdict::kGood, "merging and materializing move no data");
      return {};
    }
    LAMINA_ASSIGN_OR_RETURN(const bool copied, os::kernel_copy_range(file_.get(), 0, copy.get(), 0,
                                                                     kBlockBytes, path_, path_));
    add("reflink", Verdict::kWarning,
        fmt::format("no: merging and materializing copy the data ({})",
                    copied ? "in the kernel" : "through lamina"));
    return {};
  }

  int directory_;
  std::string path_;
  Progress* progress_;
  std::vector<Finding>& findings_;
  os::Fd own_;
  os::Fd file_;
};

/// Records that came with a copy of another store, and are left alone.
void look_for_foreign_records(const std::string& directory, std::vector<Finding>& findings) {
  if (!store::is_store(directory)) return;
  const auto listing = list_store(directory);
  if (!listing) return;
  std::size_t count = 0;
  std::string why;
  const auto look = [&](const auto& record) {
    if (record.foreign.empty()) return;
    ++count;
    why = record.foreign;
  };
  std::for_each(listing->pins.begin(), listing->pins.end(), look);
  std::for_each(listing->pending.begin(), listing->pending.end(), look);
  if (count == 0) return;
  findings.push_back(
      {"records", Verdict::kWarning,
       fmt::format(
           "{} that are not acted upon here (pins, pauses, ingests): {}; if the other store is "
           "gone, or this one is used by itself, run: lamina recover {} --adopt-store",
           count, why, directory)});
}

std::vector<Finding> examine_host() {
  const os::MachineFacts machine = os::examine_machine();
  std::vector<Finding> findings;
  const auto add = [&](std::string subject, bool good, std::string yes, std::string no) {
    findings.push_back({std::move(subject), good ? Verdict::kGood : Verdict::kWarning,
                        good ? std::move(yes) : std::move(no)});
  };
  findings.push_back({"kernel", Verdict::kGood, machine.kernel});
  add("avx2", machine.avx2, "zero test and checksums use it", "no: the portable paths are used");
  add("userfaultfd", machine.userfaultfd, "available to this user",
      fmt::format("not available to this user ({}): memory can only be resumed from a file",
                  machine.userfaultfd_error));
  add("poison", (machine.userfaultfd_features & os::kUffdFeaturePoison) != 0,
      "pages that cannot be served can be poisoned", "no (needs Linux 6.6)");
  add("pidfd_getfd", machine.pidfd_getfd, "a live VM's descriptor can be taken over",
      "no (needs Linux 5.6 and permission)");
  add("kvm", machine.kvm, "available to this user", "no access to /dev/kvm");
  return findings;
}

}  // namespace

bool DoctorReport::is_usable() const {
  return std::none_of(file_system.begin(), file_system.end(),
                      [](const Finding& finding) { return finding.verdict == Verdict::kBad; });
}

Result<DoctorReport> examine(const std::string& directory, Progress* progress) {
  return contain("examine", [&]() -> Result<DoctorReport> {
    auto fd = os::open_directory(AT_FDCWD, directory, directory);
    if (!fd) {
      return os::explain_directory_failure("directory", directory, std::move(fd.error()));
    }
    DoctorReport report;
    report.directory = directory;
    FileSystemExam exam(fd->get(), directory, progress, report.file_system);
    LAMINA_RETURN_IF_ERROR(exam.run());
    look_for_foreign_records(directory, report.file_system);
    report.machine = examine_host();
    return report;
  });
}

}  // namespace lamina
