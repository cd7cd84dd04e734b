// A snapshot that is arriving: a VM may be resumed from it before all of its blocks are here.
//
//   <store>/.arriving/<id>/       one of them
//     arrival.json                where it comes from, and who fetches the rest
//     record                      the manifest, as it is in the bucket
//     here                        which blocks are here (arrival_map.h)
//     lock                        locked by the process that fetches
//     fetcher.sock                its socket
//     in-use                      locked by those that are about to resume from it
//                                 (arrival_removal.h)
//     fetch.log                   what it had to say
//     snapshot/                   the snapshot's directory
//       arriving                  the marker: the arrival's id
//
// The layers in snapshot/ are sparse files of their final size. Blocks and their checksums are
// written to their final places, so a layer that is whole is an ordinary one. Then the marker is
// removed, snapshot/ is renamed to the snapshot's name, and the rest is removed. No command sees an
// arriving snapshot under its name.
//
// A pin links the marker too. So a page server that opens a pin's base knows that it must open the
// arrival of that id. If that does not exist any more, or has no snapshot/, the snapshot is whole.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/run.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/fd.h"
#include "store/arrival_map.h"
#include "store/snapshot_directory.h"
#include "store/store_identity.h"

namespace lamina::store {

inline constexpr const char* kArrivalFactsName = "arrival.json";
inline constexpr const char* kArrivalRecordName = "record";
inline constexpr const char* kArrivalLockName = "lock";
inline constexpr const char* kArrivalSocketName = "fetcher.sock";
inline constexpr const char* kArrivalLogName = "fetch.log";
inline constexpr const char* kArrivalSnapshotName = "snapshot";

/// arrival.json.
struct ArrivalFacts {
  Uuid id;
  StoreIdentity belongs_to;
  std::string name;         ///< that the snapshot will get in the store
  std::string url;          ///< of the bucket
  std::string bucket_name;  ///< as push records name it
  std::string remote_name;  ///< in the bucket
  std::uint64_t number = 0;
  Uuid pause_id;
  Uuid push_id;  ///< of its pin in the bucket
  std::string key_file;
  std::string key_command;
  /// Program and arguments that fetch the rest; "--store STORE ID" is appended. Empty: none.
  std::vector<std::string> fetch_command;
  /// A thread of a VM waits so long for a block, then its VM is killed.
  std::chrono::seconds wait_limit{0};
  std::vector<std::string> layers;  ///< file names of those that arrive; their frames in this order

  bool operator==(const ArrivalFacts&) const = default;
};

std::string encode_arrival_facts(const ArrivalFacts& facts);
/// kCorrupt: the message names the field that is missing or wrong.
Result<ArrivalFacts> decode_arrival_facts(std::span<const std::byte> bytes);

/// What a page server sends to the fetcher's socket. The fetcher sends back one byte, of any value,
/// when blocks that the connection has asked for are here, and when the snapshot is whole.
struct BlockRequest {
  BlockRun run;
  bool is_damaged = false;  ///< they are here, and do not match their checksums

  bool operator==(const BlockRequest&) const = default;
};

inline constexpr std::size_t kBlockRequestBytes = 12;
std::array<std::byte, kBlockRequestBytes> encode_block_request(const BlockRequest& request);
/// Every sequence of bytes is a request; the fetcher checks that the blocks exist.
BlockRequest decode_block_request(std::span<const std::byte, kBlockRequestBytes> bytes);

/// An arrival that is open. It stays readable when the snapshot is whole and it has been removed.
struct Arrival {
  std::string store;  ///< path
  std::string path;
  os::Fd directory;
  ArrivalFacts facts;
  ArrivalMap map;

  [[nodiscard]] std::string file_path(const std::string& name) const { return path + "/" + name; }
  [[nodiscard]] std::string snapshot_path() const { return file_path(kArrivalSnapshotName); }
};

/// The arrival of that id in the store at `store`. kNotFound: there is none, or its snapshot has
/// got its name. kFailed: it belongs to another store.
Result<Arrival> open_arrival(const std::string& store, const Uuid& id);

/// Ids of the store's arrivals, also of those that cannot be opened.
Result<std::vector<Uuid>> list_arrivals(const std::string& store);

/// The arrival whose snapshot will get the name `name`. Arrivals that cannot be read are passed
/// over.
Result<std::optional<Arrival>> find_arrival(const std::string& store, const std::string& name);

/// The arrival that a directory's marker names; absent: there is no marker. kCorrupt.
Result<std::optional<Uuid>> read_arrival_marker(int directory, const std::string& path);

/// The arrival that the snapshot or pin's base in `directory` belongs to; absent if that is whole.
/// `path` is below the store: STORE/.vms/VM/base or STORE/.arriving/ID/snapshot.
Result<std::optional<Arrival>> arrival_of(int directory, const std::string& path);

/// Writes the marker into a snapshot's directory.
Status write_arrival_marker(int directory, const std::string& directory_path, const Uuid& id);

/// Links the marker of a snapshot's directory into another one, if it has one.
Status link_arrival_marker(const OpenSnapshot& source, int directory,
                           const std::string& directory_path);

/// One line about an arrival, for people.
std::string describe_arrival(const Arrival& arrival);

}  // namespace lamina::store
