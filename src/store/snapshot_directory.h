// Reading and writing the files of a snapshot directory.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "format/header.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "os/file.h"
#include "store/snapshot_facts.h"
#include "store/staging.h"

namespace lamina::store {

inline constexpr const char* kHeaderName = "memfile.header";
inline constexpr const char* kFactsName = "snapshot.json";
inline constexpr const char* kVmstateName = "snapfile";
inline constexpr const char* kWorkingSetName = "working-set";
inline constexpr const char* kNewWorkingSetName = "working-set.new";
/// What `repair` writes before it renames: never part of a snapshot.
inline constexpr const char* kNewHeaderName = ".memfile.header.new";
inline constexpr const char* kNewFactsName = ".snapshot.json.new";
/// A copy of a file with too many links, before it takes that file's place.
inline constexpr const char* kNewLinkName = ".link.new";
/// Prefix of layer files: "memfile.<build id>".
inline constexpr const char* kLayerPrefix = "memfile.";
/// The only layer of an old snapshot of the original program may be named without a build id.
inline constexpr const char* kLegacyLayerName = "memfile";

std::string layer_file_name(const Uuid& build_id);

/// The build id in a layer's file name; nothing for any other name.
std::optional<Uuid> parse_layer_file_name(const std::string& name);

/// A snapshot that was opened once and is used by descriptor: whatever happens to its name, this
/// goes on reading the state that it had.
struct OpenSnapshot {
  std::string path;
  os::Fd directory;
  os::FileFacts directory_facts;
  format::Header header;
  std::optional<SnapshotFacts> facts;  ///< nothing in a directory of the original program
  /// Unknown only for version 1 and 3 headers whose layers have no trailers: the format does not
  /// record the order.
  bool layer_order_known = true;
  Uuid pause_id;  ///< of the header or the facts; the build id where neither has one
  engine::Chain chain;
};

/// Opens and validates a snapshot: header, facts, every layer's trailer, every extent against them.
/// When the directory is replaced while it is opened, the new one is opened. Whoever reads no data
/// can leave the checksums of blocks: what it costs is then not in proportion to the data.
Result<OpenSnapshot> open_snapshot(const std::string& path,
                                   engine::Checksums checksums = engine::Checksums::kLoad);

/// True when the snapshot's path does not name the directory any more that was opened. An error
/// when that cannot be told.
Result<bool> was_replaced(const OpenSnapshot& snapshot);

/// Uses `snapshot`; when that fails with kBusy because the snapshot was replaced meanwhile (a merge
/// does that at any time), opens what is there now, without its checksums, and uses that, a limited
/// number of times.
Status use_while_replaced(OpenSnapshot& snapshot, const std::function<Status()>& use);

/// Reads and decodes `memfile.header` of an open directory. kNotFound and kCorrupt name the remedy.
Result<format::Header> read_header(int directory, const std::string& path);

/// The bytes of a header file. kCorrupt when it is too long, or has holes.
Result<std::vector<std::byte>> read_header_bytes(int fd, const std::string& path);

/// Opens the layers of a header, in its order, and checks that each fits it. kNotFound names the
/// one that is missing.
Result<std::vector<engine::Layer>> open_layers(int directory, const std::string& path,
                                               const format::Header& header,
                                               const std::optional<SnapshotFacts>& facts,
                                               engine::Checksums checksums);

/// kCorrupt when header and facts of the snapshot at `path` are not of one snapshot.
Status check_facts(const format::Header& header, const SnapshotFacts& facts,
                   const std::string& path);

/// Reads snapshot.json; nothing when there is none.
Result<std::optional<SnapshotFacts>> read_facts(int directory, const std::string& path);

/// A file of a snapshot that is open, and the place where it was found.
struct LinkSource {
  int file = -1;
  os::FileFacts facts;
  std::string path;
  int directory = -1;
};

/// Gives the open file the name `name` in `directory`: a hard link, or a copy (synced) where links
/// do not reach. Returns false when it had to be copied. A copy takes the file's place in the
/// directory that it was found in, where that can be: its file system may cap the links to one
/// file, and the next link from there is then one to the copy.
Result<bool> link_or_copy(const LinkSource& source, const std::string& name, int directory,
                          const std::string& directory_path);

/// The same for a layer, found in `source_directory`, under the name of its build. A copy is read
/// and checked.
Result<bool> link_layer(const engine::Layer& layer, int source_directory, int directory,
                        const std::string& directory_path);

/// The same under the name `name`.
Result<bool> link_layer_as(const std::string& name, const engine::Layer& layer,
                           int source_directory, int directory, const std::string& directory_path);

/// Copies `source` into `directory` as the VM state, synced, and returns its digest.
Result<format::FileDigest> store_vmstate(const std::string& source, int directory,
                                         const std::string& directory_path);

/// Size and digest of a VM state file in `directory`.
Result<format::FileDigest> digest_vmstate(int directory, const std::string& directory_path);

/// kCorrupt when the VM state is not what was stored. One without a digest (of the original
/// program, or none at all) passes.
Status check_vmstate(const OpenSnapshot& snapshot);

/// What a snapshot's directory says of itself besides its layers.
struct Description {
  format::Header header;
  Uuid pause_id;
  std::optional<Uuid> parent_pause_id;
  std::string parent;
  std::string created;
  Origin origin;
};

/// Writes snapshot.json, synced, for a header that is `header_bytes` on the disk.
Status write_facts(const Description& description, std::span<const std::byte> header_bytes,
                   int directory, const std::string& directory_path, const std::string& facts_name);

/// Writes `memfile.header` and snapshot.json, synced, under `header_name` and `facts_name`.
Status write_description(const Description& description, int directory,
                         const std::string& directory_path, const std::string& header_name,
                         const std::string& facts_name);

}  // namespace lamina::store
