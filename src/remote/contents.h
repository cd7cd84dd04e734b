// What is in a bucket: objects, pins and tombstones, and what is referenced.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "object_store/blocking_store.h"
#include "remote/bucket.h"
#include "remote/catalogue.h"
#include "remote/pin.h"

namespace lamina::remote {

/// Sizes of objects by their keys.
using ObjectSizes = std::map<std::string, std::uint64_t>;

/// All objects. Keys that are not an object's are counted in `other_keys`.
Result<ObjectSizes> list_objects(object_store::BlockingStore& store, std::uint64_t& other_keys);

struct ListedPin {
  Pin pin;
  std::optional<std::chrono::seconds> age{};  ///< since its last PUT, by the server's clock
};

/// Lists and reads all pins, again as long as pins vanish between their list and their reads: a key
/// that is listed twice and is never there shows a damaged list, which has missed another pin.
/// kCorrupt: one cannot be decoded, or is of another bucket, or a key is not a pin's: it might
/// protect anything. kFailed: one is listed, and cannot be read.
Result<std::vector<ListedPin>> read_pins(Bucket& bucket);

/// Tombstones: their keys, by the keys of their objects. Keys that are not a tombstone's are
/// counted in `other_keys`.
Result<std::multimap<std::string, std::string>> list_tombstones(object_store::BlockingStore& store,
                                                                std::uint64_t& other_keys);

/// Reads the public parts of records, and keeps them: the contents of a key never change.
class RecordReader {
 public:
  explicit RecordReader(Bucket& bucket) : bucket_(bucket) {}

  struct Read {
    RecordList list;
    std::vector<const PublicPart*> parts;  ///< parallel; null: it was gone
  };
  /// Lists and reads all records, as read_pins() does. kCorrupt: one cannot be decoded, or is of
  /// another bucket, or a key is not a record's. kFailed: one is listed, and cannot be read.
  Result<Read> read_all();

 private:
  /// `missing` gets the records that were listed, and are gone.
  Result<Read> read_once(std::vector<RecordPlace>& missing);

  Bucket& bucket_;
  std::map<RecordPlace, PublicPart> known_;
};

/// What pins and manifests reference.
class References {
 public:
  /// Reads the pins, *then* the records: a push deletes its pin after its manifest is stored.
  static Result<References> read(Bucket& bucket, RecordReader& records);

  [[nodiscard]] bool contains(const std::string& object) const;
  /// True if a push has a pin.
  [[nodiscard]] bool has_pin_of(const Uuid& push_id) const { return pushes_.contains(push_id); }

  /// Forgets the records and pins that a predicate is false for.
  void keep_only(const std::function<bool(const Record&)>& keeps_record,
                 const std::function<bool(const ListedPin&)>& keeps_pin);
  [[nodiscard]] const std::vector<ListedPin>& pins() const { return pins_; }
  [[nodiscard]] const RecordReader::Read& records() const { return records_; }

 private:
  std::vector<ListedPin> pins_;
  std::set<Uuid> pushes_;
  std::set<std::string> objects_;
  RecordReader::Read records_;
};

}  // namespace lamina::remote
