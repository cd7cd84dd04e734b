// What a record in a store belongs to: a store's directory, on a host.
//
// Pins and journals name processes, sockets, jails and paths outside the store. A copy of a store
// has them too, and so has a store on a file system that two hosts share; whoever acts on them
// there acts on what belongs to somebody else. So each carries this, and is acted upon only where
// it fits.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "lamina/result.h"

namespace lamina::store {

struct StoreIdentity {
  std::uint64_t device = 0;   ///< of the store's directory. May be another after each boot
  std::uint64_t inode = 0;    ///< the same
  std::uint64_t born_ns = 0;  ///< when the directory was made; 0: unknown
  /// A digest of the host's machine id; empty: unknown.
  std::string host;
  std::string boot_id;

  bool operator==(const StoreIdentity&) const = default;
};

/// Of the store whose directory is open as `store`, on this host, now.
Result<StoreIdentity> identity_of(int store, const std::string& path);

/// The same, of a store by its path.
Result<StoreIdentity> identity_of_store(const std::string& path);

/// Why a record of `owner` is not one of the store `here`; empty when it is. Within one boot the
/// directory decides: device, inode, and when it was made. After another boot the host, the inode
/// and when it was made: device numbers may have changed. Where the host is not known, that cannot
/// be told, and the record counts as foreign.
std::string why_foreign(const StoreIdentity& owner, const StoreIdentity& here);

/// A text that is the same for this store after every boot, and another for a copy: inode and birth
/// time of its directory in hexadecimal digits.
std::string lasting_name(const StoreIdentity& identity);

nlohmann::json to_json(const StoreIdentity& identity);
/// Nothing when `json` is not one.
std::optional<StoreIdentity> identity_from_json(const nlohmann::json& json);

}  // namespace lamina::store
