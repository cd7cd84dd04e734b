// Names of the objects in a bucket (docs/remote.md, "Names").
//
//   v1/format                                   made by the first push
//   v1/layers/<build id>.<push id>-<n>          packed layers
//   v1/packs/<pause id>.<push id>-<n>           working sets: their blocks in order of first touch
//   v1/files/<pause id>.<push id>-<n>           packed files: VM states, attached files
//   v1/snapshots/<name>.<number>                records: manifests, voids, removals
//   v1/pins/<push id>                           what a push is about to reference
//   v1/tombstones/<kind>.<object>.<cycle id>    what a collector is about to delete
//
// A push has a random id. It is part of the name of every object that the push makes, so its pin
// protects them before they exist. Names of snapshots are escaped: letters, digits and '-' stay,
// any other character becomes '_' and two hexadecimal digits. So an escaped name has no '.', and
// the records of a name are exactly the keys with the prefix "<name>.".
//
// Parsing functions take keys from anyone who can write to the bucket, and return nothing for a key
// that this file would not have made.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::remote {

inline constexpr std::string_view kFormatKey = "v1/format";
inline constexpr std::string_view kLayersPrefix = "v1/layers/";
inline constexpr std::string_view kPacksPrefix = "v1/packs/";
inline constexpr std::string_view kFilesPrefix = "v1/files/";
inline constexpr std::string_view kRecordsPrefix = "v1/snapshots/";
inline constexpr std::string_view kPinsPrefix = "v1/pins/";
inline constexpr std::string_view kTombstonesPrefix = "v1/tombstones/";

/// An escaped name is not longer.
inline constexpr std::size_t kMaxEscapedNameBytes = 200;
/// Records are numbered from 1 with 16 decimal digits.
inline constexpr std::uint64_t kMaxNumber = 9'999'999'999'999'999;

/// Where a record is: the snapshot's name, and the record's number.
struct RecordPlace {
  std::string name;
  std::uint64_t number = 0;

  auto operator<=>(const RecordPlace&) const = default;
};

/// kUsage unless `name` is a valid name of a snapshot that can be escaped.
Status check_name(std::string_view name);

/// The name under which a state is kept that lost to another one: "<name>@<pause id>". A long name
/// is cut.
std::string conflict_name(std::string_view name, const Uuid& pause_id);

/// True if `other` is conflict_name(name, pause) of some pause.
bool is_conflict_name(std::string_view other, std::string_view name);

/// What the keys of all records of `name` begin with. REQUIRES: check_name(name).
std::string record_prefix(std::string_view name);
/// REQUIRES: check_name(place.name); 1 <= number <= kMaxNumber.
std::string record_key(const RecordPlace& place);
std::optional<RecordPlace> parse_record_key(std::string_view key);

/// What the keys of all objects of a layer begin with.
std::string layer_prefix(const Uuid& build_id);
std::string layer_key(const Uuid& build_id, const Uuid& push_id, std::uint32_t number);
std::string file_key(const Uuid& pause_id, const Uuid& push_id, std::uint32_t number);
std::string pack_key(const Uuid& pause_id, const Uuid& push_id, std::uint32_t number);

enum class KindOfObject : std::uint8_t { kLayer, kPack, kFile };

/// The parts of an object's key.
struct ObjectName {
  KindOfObject kind = KindOfObject::kLayer;
  Uuid id;  ///< build id of a layer; else a pause id
  Uuid push_id;
};
std::optional<ObjectName> parse_object_key(std::string_view key);

std::string pin_key(const Uuid& push_id);
std::optional<Uuid> parse_pin_key(std::string_view key);

/// What the keys of all tombstones of an object begin with. REQUIRES: parse_object_key(object).
std::string tombstone_prefix(std::string_view object);
std::string tombstone_key(std::string_view object, const Uuid& cycle_id);
/// The key of the object.
std::optional<std::string> parse_tombstone_key(std::string_view key);

}  // namespace lamina::remote
