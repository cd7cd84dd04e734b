// A guest whose memory is filled write-protected, and ways of finding what it has written since.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fault_contenders.h"
#include "lamina/result.h"
#include "suspects_guest.h"
#include "suspects_layer.h"

namespace lamina::bench {

enum class Tracking : std::uint8_t {
  kNone,
  kAsync,     ///< the kernel lifts the protection of a page that is written (Linux 6.7)
  kSync,      ///< the server does, for every page that is written, and notes it
  kSyncLate,  ///< the same with a descriptor made as Firecracker makes it: the server registers the
              ///< memory anew
};

/// Blocks in ascending order.
using DirtySet = std::vector<std::uint32_t>;

class TrackedGuest {
 public:
  /// Seven eighths of its memory are the layer's bytes, the rest zeros; of kHuge all are other
  /// bytes. It writes to `touches`, which must outlive it.
  static Result<std::unique_ptr<TrackedGuest>> start(const BareLayer& layer,
                                                     const std::vector<std::uint32_t>& touches,
                                                     Tracking tracking, Backing backing,
                                                     const Placement& placement);
  /// Lets it write and resolves what it must wait for.
  Status write();

  [[nodiscard]] pid_t pid() const { return guest_->pid(); }
  /// What the server has been told. REQUIRES: synchronous tracking.
  [[nodiscard]] DirtySet noted() const;
  /// By PAGEMAP_SCAN; `protect`: and protects what was written anew, in the same step.
  /// REQUIRES: asynchronous tracking.
  [[nodiscard]] Result<DirtySet> scanned(bool protect) const;
  /// By the entries of /proc/PID/pagemap. REQUIRES: tracking.
  [[nodiscard]] Result<DirtySet> read_from_pagemap() const;
  /// By comparing all memory with what was filled in. REQUIRES: not Backing::kHuge.
  [[nodiscard]] Result<DirtySet> compared() const;

 private:
  TrackedGuest(const BareLayer& layer, Tracking tracking) : layer_(layer), tracking_(tracking) {}
  Status populate();
  Status protect(std::uint64_t address, std::uint64_t length, bool is_protected) const;
  [[nodiscard]] Result<os::Fd> open_pagemap() const;
  [[nodiscard]] std::uint32_t data_blocks() const { return layer_.block_count() / 8 * 7; }

  const BareLayer& layer_;
  const Tracking tracking_;
  std::unique_ptr<BareGuest> guest_;
  DirtySet noted_;
};

}  // namespace lamina::bench
