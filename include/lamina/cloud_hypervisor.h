// Snapshots of Cloud Hypervisor's own (`vm.snapshot`): directories with config.json, state.json and
// memory-ranges. pause() and resume() need none of them; see lamina/lifecycle.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/ingest.h"
#include "lamina/materialize.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina {

/// True if `path` is a directory with a `memory-ranges`.
bool is_cloud_hypervisor_directory(const std::string& path);

/// Stores the snapshot in `directory`: the memory as ingest() does, and config.json and state.json
/// as the VM state that resume() uses. `options` gives the rest; `memory_file` and `vmstate_file`
/// must be empty, and `kind` may not be kDiff: memory-ranges is a full file. With a parent only
/// what differs from it is stored.
///
/// Errors as ingest(); also kUnsupported: the memory in memory-ranges is not complete or not in the
/// order of the guest's addresses, or state.json is of another form than release 53's; kCorrupt:
/// config.json or state.json.
Result<IngestReport> ingest_cloud_hypervisor(const std::string& directory,
                                             const IngestOptions& options);

struct CloudHypervisorExportOptions {
  std::string snapshot{};            ///< path: STORE/NAME
  std::string out{};                 ///< path of the directory, which must not exist
  Reflink reflink = Reflink::kAuto;  ///< of memory-ranges
  Progress* progress = nullptr;      ///< may be null
};

struct CloudHypervisorExportReport {
  Uuid pause_id;
  std::uint64_t memory_bytes = 0;
  std::uint64_t data_bytes = 0;       ///< the rest of memory-ranges is holes
  std::vector<std::string> attached;  ///< names of attached files, which are in attached/
  std::string vmm_version;            ///< "v53.0"; empty: not known
};

/// Writes a directory that Cloud Hypervisor restores by itself (`--restore source_url=file://DIR`,
/// `vm.restore`), with every block checked. The directory gets its name when all of it is on the
/// disk. Zones of memory that mapped a file of the store are shared anonymous memory in it.
///
/// Errors as export_firecracker(); kUnsupported: the snapshot is not of a Cloud Hypervisor VM.
Result<CloudHypervisorExportReport> export_cloud_hypervisor(
    const CloudHypervisorExportOptions& options);

}  // namespace lamina
