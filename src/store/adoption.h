// Moving a memory file into the store. During an adoption the store holds the only copy of data
// that cannot be made again.
//
// A journal beside the staging directory, <store>/.pending/<id>.json, records where the file came
// from and how long it was. It is on the disk before the file is moved. While the journal exists,
// the adoption can be undone at any point: the file is truncated to its own length and renamed
// back. The journal is removed when the snapshot is published. So after a crash, the next writer of
// the store either finds a published snapshot, or moves the file back, and the same command can be
// run again.
//
// The file's directory may belong to another user, and a journal may come with an untrusted store.
// Therefore:
// - The directory is used by descriptor, and only a name in that directory is moved.
// - After the move, the file is made private: no other name, this process' user, mode 0600, and no
//   process that can still write it (os/read_lease.h).
// - A file is moved back only if it is the one that the journal was written for, and only into the
//   directory that it came from. Both are known by inode and birth time, which a user cannot set.
//   In a copied or unpacked store they differ.
//
// After a failed sync of the file, a later successful sync proves nothing: the kernel may have
// dropped the writes. A file that may have a trailer then goes back only if its data is seen to be
// on the disk; else a checked copy goes back (engine/lost_writes.h).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "os/file.h"
#include "store/staging.h"
#include "store/store.h"

namespace lamina::store {

/// The memory file to adopt.
struct AdoptedFile {
  int directory = -1;  ///< may be opened with O_PATH
  std::string name;
  std::string path;  ///< absolute: where it is moved back to after a crash, and for messages
  int file = -1;     ///< open for reading only
  os::FileFacts facts;
};

/// One adoption. Used by one thread.
class Adoption {
 public:
  /// Writes the journal, renames the file into `staging` as `layer_name`, and makes it private.
  /// kBusy: a process can still write the file. On failure the file is in its old place, or the
  /// message says where it is. Error::error_number is EXDEV if the file cannot be renamed into the
  /// store, and EOPNOTSUPP if the file system cannot tell whether a process can still write it.
  /// `store` and `staging` must outlive this.
  static Result<Adoption> take_over(const Store& store, const Staging& staging, const Uuid& id,
                                    const AdoptedFile& source, const std::string& layer_name);

  Adoption(Adoption&& other) noexcept
      : store_(std::exchange(other.store_, nullptr)),
        id_(std::move(other.id_)),
        source_directory_(std::move(other.source_directory_)) {}
  Adoption& operator=(Adoption&&) = delete;
  Adoption(const Adoption&) = delete;
  Adoption& operator=(const Adoption&) = delete;
  /// Undoes the adoption, unless commit(), leave() or undo() was called.
  ~Adoption();

  /// The snapshot is published: removes the journal. If that fails, `notes` says so, and the next
  /// writer of the store removes it.
  void commit(std::vector<std::string>& notes);

  /// The snapshot was renamed into place, but may not be on the disk, or the directory that it
  /// replaced is still in the pending area. Keeps the journal; the next writer of the store ends
  /// the adoption.
  void leave();

  /// Moves the memory file back and removes the staging directory. On failure the message says
  /// where the file is.
  Status undo();

 private:
  Adoption(const Store& store, std::string id) : store_(&store), id_(std::move(id)) {}

  Status take(const Staging& staging, const AdoptedFile& source, const std::string& layer_name);

  const Store* store_;
  std::string id_;
  os::Fd source_directory_;
};

/// Undoes every adoption whose process has ended. A file that cannot be moved back (its name is
/// taken, or it is not the file of the journal) stays where it is, and `notes` says so. Adoptions
/// of another store are left alone, and noted.
Status end_unfinished_adoptions(const Store& store, std::vector<std::string>& notes);

/// Makes the adoptions of another store, of which this one is a copy, this store's own:
/// end_unfinished_adoptions() will move the memory file of each to <store>/<id>.memory. Returns
/// their ids.
Result<std::vector<std::string>> adopt_foreign_adoptions(const Store& store);

}  // namespace lamina::store
