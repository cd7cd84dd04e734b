// Reading and writing the files of a snapshot directory.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "format/header.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "os/file.h"
#include "store/areas.h"
#include "store/snapshot_facts.h"
#include "store/staging.h"

namespace lamina::store {

inline constexpr const char* kFactsName = "snapshot.json";
inline constexpr const char* kVmstateName = "snapfile";
inline constexpr const char* kWorkingSetName = "working-set";
inline constexpr const char* kNewWorkingSetName = "working-set.new";
/// In a snapshot that is still being fetched, and in pins of it: names the arrival (arrival.h).
inline constexpr const char* kArrivalMarkerName = "arriving";
/// Files of an unfinished repair: not part of the snapshot.
inline constexpr const char* kNewHeaderName = ".memfile.header.new";
inline constexpr const char* kNewFactsName = ".snapshot.json.new";
/// Begins the name of a copy of a file with too many links, before it replaces that file, whose
/// name follows: several may be replaced at the same time.
inline constexpr const char* kNewLinkPrefix = ".link.new";
/// Prefix of layer files: "memfile.<build id>".
inline constexpr const char* kLayerPrefix = "memfile.";
/// The name of the only layer in old snapshots of wrenn's snapshot package, which has no build id.
inline constexpr const char* kLegacyLayerName = "memfile";

std::string layer_file_name(const Uuid& build_id);

/// The build id in a layer's file name; absent for another name.
std::optional<Uuid> parse_layer_file_name(const std::string& name);

/// An open snapshot. It is read by descriptor: if its name is replaced or removed, it still reads
/// the state that was opened. Files that are opened by name in `directory` later may be gone then;
/// who needs them asks was_replaced().
struct OpenSnapshot {
  std::string path;
  os::Fd directory;
  os::FileFacts directory_facts;
  os::OpenedFile header_file;
  Result<os::OpenedFile> vmstate_file;  ///< kNotFound: the snapshot has none
  format::Header header;
  std::optional<SnapshotFacts> facts;  ///< absent in a directory that wrenn wrote
  /// False only for version 1 and 3 headers whose layers have no trailers: those formats do not
  /// record the order.
  bool layer_order_known = true;
  Uuid pause_id;  ///< of the header, else of the facts, else the build id
  engine::Chain chain;
};

/// Opens a snapshot and checks header, facts, the trailer of each layer, and each extent against
/// them. If the directory is replaced meanwhile, opens the new one. A caller that reads no data
/// skips the checksums of the blocks, whose number is in proportion to the data. kNotFound,
/// kCorrupt; kUsage: `path` is a file.
Result<OpenSnapshot> open_snapshot(const std::string& path,
                                   engine::Checksums checksums = engine::Checksums::kLoad);

/// Which state a snapshot is, and which directory.
struct SnapshotIdentity {
  Uuid pause_id;  ///< as OpenSnapshot::pause_id
  os::FileFacts directory_facts;
};

/// Reads header and facts, and checks that they fit each other. The layers are not looked at: for
/// who wants to know only what would be replaced. Errors as open_snapshot().
Result<SnapshotIdentity> identify_snapshot(const std::string& path);

/// True if the snapshot's path no longer names the directory that was opened. An error if that
/// cannot be found out.
Result<bool> was_replaced(const OpenSnapshot& snapshot);

/// Calls `use`. If it fails with kBusy because the snapshot was replaced meanwhile (a merge may do
/// that at any time), opens the new one into `snapshot`, without checksums, and calls it again, a
/// limited number of times.
Status retry_if_replaced(OpenSnapshot& snapshot, const std::function<Status()>& use);

/// Reads and decodes `memfile.header` of an open directory. The messages of kNotFound and kCorrupt
/// name the remedy.
Result<format::Header> read_header(int directory, const std::string& path);

/// The bytes of a header file. kCorrupt: it is too long, or has holes.
Result<std::vector<std::byte>> read_header_bytes(int fd, const std::string& path);

/// Opens the layers of a header in its order, and checks that each fits it. kNotFound: the message
/// names the missing layer.
Result<std::vector<engine::Layer>> open_layers(int directory, const std::string& path,
                                               const format::Header& header,
                                               const std::optional<SnapshotFacts>& facts,
                                               engine::Checksums checksums);

/// kCorrupt if header and facts of the snapshot at `path` describe different snapshots.
Status check_facts(const format::Header& header, const SnapshotFacts& facts,
                   const std::string& path);

/// Reads snapshot.json; absent if there is none.
Result<std::optional<SnapshotFacts>> read_facts(int directory, const std::string& path);

/// An open file of a snapshot, and the directory that it is in.
struct LinkSource {
  int file = -1;
  os::FileFacts facts;
  std::string path;
  int directory = -1;
  Progress* progress = nullptr;  ///< of a copy; may be null
};

/// Makes a hard link `name` in `directory` to the open file, or a synced copy if it cannot be
/// linked. Returns false if it was copied. If the file has too many links, the copy also replaces
/// it in its own directory where possible, so that the next link from there is one to the copy.
Result<bool> link_or_copy(const LinkSource& source, const std::string& name, int directory,
                          const std::string& directory_path);

/// The same for a layer in `source_directory`, under the name of its build id. A copied layer is
/// read and checked.
Result<bool> link_layer(const engine::Layer& layer, int source_directory, int directory,
                        const std::string& directory_path);

/// The same under the name `name`.
Result<bool> link_layer_as(const std::string& name, const engine::Layer& layer,
                           int source_directory, int directory, const std::string& directory_path,
                           Progress* progress = nullptr);

/// Copies `source` into `directory` as the VM state, synced, and returns its digest.
Result<format::FileDigest> store_vmstate(const std::string& source, int directory,
                                         const std::string& directory_path);

/// Size and digest of a VM state file in `directory`.
Result<format::FileDigest> digest_vmstate(int directory, const std::string& directory_path);

/// kCorrupt if the VM state does not match its digest. Passes if there is no digest (wrenn writes
/// none) or no VM state.
Status check_vmstate(const OpenSnapshot& snapshot);

/// The contents of header and facts.
struct Description {
  format::Header header;
  Uuid pause_id;
  std::optional<Uuid> parent_pause_id;
  std::vector<Uuid> ancestors;  ///< as SnapshotFacts::ancestors
  std::string parent;
  std::string created;
  Origin origin;
  bool once = false;
  std::optional<PauseRecord> pause;
};

/// Writes snapshot.json for a header whose file has the contents `header_bytes`, and syncs it.
Status write_facts(const Description& description, std::span<const std::byte> header_bytes,
                   int directory, const std::string& directory_path, const std::string& facts_name);

/// Writes header and facts under the names `header_name` and `facts_name`, and syncs them.
Status write_description(const Description& description, int directory,
                         const std::string& directory_path, const std::string& header_name,
                         const std::string& facts_name);

}  // namespace lamina::store
