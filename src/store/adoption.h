// Taking a memory file over into the store: the one operation in which lamina holds the only copy
// of something that cannot be made again.
//
// A journal beside the staging directory, <store>/.pending/<id>.json, says where the file came from
// and how long it was. It is on the disk before the file is touched. While it stands, the adoption
// can be undone at any point: what follows the file's own length is cut off, and the file is
// renamed back. It is removed when the snapshot is published. So after a crash the next writer of
// the store finds either a published snapshot, or puts the file back, and the same command can be
// given again.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "store/staging.h"
#include "store/store.h"
#include "sys/file.h"

namespace lamina::store {

class Adoption {
 public:
  /// Writes the journal and renames the memory file at `source` (an absolute path to what has
  /// `facts`) into `staging` as `layer_name`. On failure the file is where it was, or the message
  /// says where it is. `store` and `staging` must outlive this.
  static Result<Adoption> take_over(const Store& store, const Staging& staging, const Uuid& id,
                                    const std::string& source, const std::string& layer_name,
                                    const sys::FileFacts& facts);

  Adoption(Adoption&& other) noexcept
      : store_(std::exchange(other.store_, nullptr)), id_(std::move(other.id_)) {}
  Adoption& operator=(Adoption&&) = delete;
  Adoption(const Adoption&) = delete;
  Adoption& operator=(const Adoption&) = delete;
  /// Undoes the adoption unless commit(), leave() or undo() was called.
  ~Adoption();

  /// The snapshot is published: removes the journal. (One that stays is removed by the next writer
  /// of the store; `notes` says so.)
  void commit(std::vector<std::string>& notes);

  /// The snapshot was renamed into place but may not be on the disk, or what it replaced is still
  /// in the staging directory: the journal stays, and the next writer of the store ends it.
  void leave();

  /// Puts the memory file back and removes the staging directory. On failure the message says where
  /// the file is.
  Status undo();

 private:
  Adoption(const Store& store, std::string id) : store_(&store), id_(std::move(id)) {}

  const Store* store_;
  std::string id_;
};

/// Undoes every adoption whose process is gone. What cannot be put back (its old place is taken)
/// stays where it is, and `notes` says so; so does what is another store's.
Status end_unfinished_adoptions(const Store& store, std::vector<std::string>& notes);

/// Makes adoptions of other stores, which a copy of one has, ours: end_unfinished_adoptions() will
/// put the memory file of each into this store's directory, as <id>.memory, whatever has become of
/// the file that it was made from. Returns their ids.
Result<std::vector<std::string>> adopt_foreign_adoptions(const Store& store);

}  // namespace lamina::store
