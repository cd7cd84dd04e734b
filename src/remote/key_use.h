// Which tenant's key wraps the keys of which states.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "lamina/remote_keys.h"
#include "lamina/result.h"
#include "object_store/object_store.h"
#include "packed/keys.h"
#include "remote/bucket.h"
#include "remote/catalogue.h"

namespace lamina::remote {

/// How a report names a tenant's key: its id, or "command".
std::string name_of_key(packed::WrapAlgorithm algorithm, const std::string& key_id);

/// A record with its keyring.
struct KeyedRecord {
  PublicPart part;
  std::vector<std::byte> keyring;  ///< empty: it is not encrypted, or not a manifest
  std::string key_name;            ///< as name_of_key(); "": the same

  [[nodiscard]] const Record& record() const { return part.record; }
};

/// Reads public parts and keyrings, several at a time, in the order of `records`. kNotFound of one:
/// it is gone, and a list says so too. kCorrupt: it cannot be decoded, or is of another bucket.
std::vector<Result<KeyedRecord>> read_keyed_records(Bucket& bucket,
                                                    const std::vector<ListedRecord>& records);

/// Of records of one name, by number: the place of the newest state; records.size(): there is none.
std::size_t place_of_newest(std::span<const KeyedRecord> records);

Result<RemoteKeysReport> list_keys(object_store::ObjectStore& bucket,
                                   const RemoteKeysOptions& options,
                                   const packed::KeyWrapper* given);

}  // namespace lamina::remote
