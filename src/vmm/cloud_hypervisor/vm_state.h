// The VM state of a paused Cloud Hypervisor VM: what its migration says besides the memory.
//
// lamina keeps it as one file (`snapfile`), a JSON object:
//
//   {"cloud_hypervisor": 1, "vmm_version": "v53.0", "config": TEXT, "state": TEXT}
//
// TEXT is the payload of the message, byte for byte. Cloud Hypervisor's own snapshots keep the same
// in two files, config.json and state.json, beside `memory-ranges`.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "lamina/result.h"

namespace lamina::vmm {

struct SavedVm {
  std::string vmm_version;
  std::string config;  ///< the Config message
  std::string state;   ///< the State message

  bool operator==(const SavedVm&) const = default;
};

std::string encode_saved_vm(const SavedVm& vm);

/// kUnsupported if the bytes are not a Cloud Hypervisor VM's, or of a later version of this form.
Result<SavedVm> decode_saved_vm(std::span<const std::byte> bytes);

/// True if the bytes begin as those of encode_saved_vm().
bool is_saved_vm(std::span<const std::byte> bytes);

/// Files of Cloud Hypervisor's own snapshot.
struct SnapshotFiles {
  std::string config;  ///< config.json
  std::string state;   ///< state.json
};

inline constexpr const char* kConfigFileName = "config.json";
inline constexpr const char* kStateFileName = "state.json";
inline constexpr const char* kMemoryRangesName = "memory-ranges";

/// The files of a directory that Cloud Hypervisor restores, in which `memory-ranges` is lamina's
/// memory file. Zones that map a file of a store are shared anonymous memory instead.
/// kUnsupported if Cloud Hypervisor would read the ranges of `memory-ranges` in another order.
Result<SnapshotFiles> to_snapshot_files(const SavedVm& vm);

/// The reverse. kUnsupported if `memory-ranges` is not in the order of the guest's addresses, or
/// lacks a part of the memory (Cloud Hypervisor leaves out files that are mapped shared).
Result<SavedVm> from_snapshot_files(const SnapshotFiles& files);

}  // namespace lamina::vmm
