#include "lifecycle/resume_mode.h"

#include <fcntl.h>

#include <cstddef>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "lifecycle/maps.h"
#include "os/file.h"
#include "os/machine.h"
#include "os/path_walk.h"
#include "os/range_copy.h"
#include "os/unix_socket.h"
#include "store/huge_pages.h"
#include "vmm/firecracker/version.h"

namespace lamina::lifecycle {
namespace {

/// Above this, making a file of the memory takes longer than the first faults of a page server, and
/// the VM waits for all of it. Reading and checking runs at some GB/s; every run costs a clone
/// call.
constexpr double kMaxMaterializeMs = 50;
constexpr double kReadBytesPerMs = 4e6;
constexpr double kCloneMsPerRun = 0.02;

/// Why Firecracker would not reach the page server; empty if it would.
Result<std::string> why_no_page_faults(const ClaimedVm& claimed) {
  if (claimed.jail.is_apart()) return std::string();
  LAMINA_ASSIGN_OR_RETURN(const std::string store, os::real_path(claimed.store->path()));
  const std::string path = page_server_socket(store);
  if (path.size() <= os::kMaxSocketPathBytes) return std::string();
  return fmt::format("Firecracker cannot connect to '{}', sockets' paths have at most {} bytes",
                     path, os::kMaxSocketPathBytes);
}

double materialize_ms(const store::OpenSnapshot& snapshot) {
  double bytes = 0;
  double runs = 0;
  for (std::size_t i = 0; i < snapshot.header.mapping.extent_count(); ++i) {
    const mapping::Extent extent = snapshot.header.mapping.extent(i);
    if (extent.layer == mapping::kZeros) continue;
    bytes += static_cast<double>(extent.block_count * kBlockBytes);
    ++runs;
  }
  return bytes / kReadBytesPerMs + runs * kCloneMsPerRun;
}

/// Tries it on a block of the youngest layer.
Result<bool> shares_storage(const store::Store& store, const store::OpenSnapshot& snapshot) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd file, os::open_at(store.temporary_area(), ".",
                                                         O_TMPFILE | O_RDWR, store.path()));
  const engine::Layer& layer = snapshot.chain.layers().back();
  if (layer.data_blocks() == 0) return false;
  const auto cloned = os::clone_range(layer.fd(), 0, file.get(), 0, kBlockBytes, store.path());
  return cloned && *cloned;
}

/// Both are possible.
Result<ResumeModeChoice> faster_mode(const store::Store& store,
                                     const store::OpenSnapshot& snapshot) {
  if (has_map(store, snapshot.pause_id)) {
    return ResumeModeChoice{ResumeMode::kFile,
                            "a materialized file of this pause is there already"};
  }
  if (const double ms = materialize_ms(snapshot); ms > kMaxMaterializeMs) {
    return ResumeModeChoice{
        ResumeMode::kPageFaults,
        fmt::format("the VM would wait some {:.0f} ms for a materialized file", ms)};
  }
  LAMINA_ASSIGN_OR_RETURN(const bool shares, shares_storage(store, snapshot));
  if (shares) {
    return ResumeModeChoice{ResumeMode::kFile,
                            "the file system shares storage, so a materialized file is cheap"};
  }
  return ResumeModeChoice{ResumeMode::kPageFaults,
                          "the file system would have to copy the memory into a file"};
}

Result<ResumeModeChoice> asked_for(ResumeMode mode) { return ResumeModeChoice{mode, "asked for"}; }

}  // namespace

std::string pages_after_load(const store::OpenSnapshot& snapshot, const ResumeOptions& options) {
  return store::huge_pages_name(options.huge_pages,
                                snapshot.facts ? snapshot.facts->origin.huge_pages : "");
}

Result<ResumeModeChoice> choose_resume_mode(const ClaimedVm& claimed,
                                            const store::OpenSnapshot& snapshot,
                                            const std::string& version,
                                            const ResumeOptions& options) {
  const bool needs_faults = pages_after_load(snapshot, options) == store::kHugetlbfsPages;
  LAMINA_ASSIGN_OR_RETURN(std::string no_faults, why_no_page_faults(claimed));
  const auto cannot = [&](const std::string& why, const char* otherwise) {
    const bool may_load_otherwise =
        needs_faults && vmm::has_feature(version, vmm::Feature::kLoadHugePages);
    return with_remedy(
        fail(ErrorKind::kUnsupported, "'{}' cannot be resumed so: {}", snapshot.path, why), "{}{}",
        otherwise, may_load_otherwise ? ", or on other pages with `huge_pages=none`" : "");
  };
  constexpr const char* kHugePages = "the VM's memory is on 2 MiB pages";
  if (options.mode == ResumeMode::kFile) {
    if (!needs_faults) return asked_for(options.mode);
    return cannot(std::string(kHugePages) + ", which Firecracker loads by page faults only",
                  "resume with `mode=uffd`");
  }
  if (options.mode == ResumeMode::kPageFaults) {
    if (no_faults.empty()) return asked_for(options.mode);
    return cannot(no_faults, needs_faults
                                 ? "give the store a shorter path"
                                 : "give the store a shorter path, or resume with `mode=file`");
  }
  const os::MachineFacts machine = os::examine_machine();
  if (no_faults.empty() && !machine.userfaultfd) {
    no_faults = fmt::format("no userfaultfd here: {}", machine.userfaultfd_error);
  }
  if (needs_faults && !no_faults.empty()) {
    return cannot(fmt::format("{}, which needs page faults, and {}", kHugePages, no_faults),
                  "mend the latter");
  }
  if (needs_faults) return ResumeModeChoice{ResumeMode::kPageFaults, kHugePages};
  if (!no_faults.empty()) return ResumeModeChoice{ResumeMode::kFile, no_faults};
  LAMINA_ASSIGN_OR_RETURN(ResumeModeChoice choice, faster_mode(*claimed.store, snapshot));
  choice.may_fall_back = true;
  return choice;
}

}  // namespace lamina::lifecycle
