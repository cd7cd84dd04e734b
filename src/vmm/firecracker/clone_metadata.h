// What tells a VM from its clones: VMs that were resumed from the same pause. Their guests have the
// same memory, so whatever is to differ must come from outside (docs/lifecycle.md, "Clones").
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::vmm {

struct CloneIdentity {
  Uuid resume_id;
  std::uint64_t clone_number = 0;
  Uuid pause_id;
  std::string snapshot;  ///< its name
};

/// Firecracker's default limit on the bodies of requests.
inline constexpr std::size_t kMaxMmdsBytes = 51'200;

/// Reads ResumeOptions::mmds. kUsage: not a JSON object, or it has "lamina" already, or it is too
/// large.
Result<std::string> read_mmds(const std::string& path);

/// The contents for one VM: `contents` (of read_mmds()) with the object "lamina".
Result<std::string> mmds_for(const std::string& contents, const CloneIdentity& identity);

/// ResumeReport::generation_device of a Firecracker of this version on this machine.
std::string generation_device(const std::string& version);

}  // namespace lamina::vmm
