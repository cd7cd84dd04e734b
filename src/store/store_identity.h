// The identity of a store: its directory, on a host.
//
// Pins and journals name processes, sockets, jails and paths outside the store. A copy of the store
// has the same records, and two hosts that share a file system see them both; but only the original
// store may act on them. So each record carries the identity of its store, and lamina acts only on
// records whose identity matches.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "lamina/result.h"

namespace lamina::store {

class FieldReader;

struct StoreIdentity {
  std::uint64_t device = 0;   ///< of the store's directory; may change with each boot
  std::uint64_t inode = 0;    ///< of the store's directory
  std::uint64_t born_ns = 0;  ///< birth time of the directory, ns since the epoch; 0: unknown
  /// A digest of the host's machine id; empty: unknown.
  std::string host;
  std::string boot_id;

  bool operator==(const StoreIdentity&) const = default;
};

/// The current identity of the store whose directory is open as `store`.
Result<StoreIdentity> identity_of(int store, const std::string& path);

/// The same for a store by its path.
Result<StoreIdentity> identity_of_store(const std::string& path);

/// Why a record of `owner` does not belong to the store `here`; empty if it does. Within one boot,
/// device, inode and birth time of the directory decide. After another boot, host, inode and birth
/// time do: device numbers may have changed. If the host is unknown then, the record counts as
/// foreign.
std::string why_foreign(const StoreIdentity& owner, const StoreIdentity& here);

/// A text that is the same for a store after every boot, and another for a copy of it: inode and
/// birth time of its directory in hexadecimal digits.
std::string stable_name(const StoreIdentity& identity);

nlohmann::json to_json(const StoreIdentity& identity);
/// Absent if `json` is not an identity.
std::optional<StoreIdentity> identity_from_json(const nlohmann::json& json);
/// The field `belongs_to` of a record, which must be there.
StoreIdentity read_owner(FieldReader& reader);

}  // namespace lamina::store
