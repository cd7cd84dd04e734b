// Taking a memory file over into the store: the one operation in which lamina holds the only copy
// of something that cannot be made again.
//
// A journal beside the staging directory, <store>/.pending/<id>.json, says where the file came from
// and how long it was. It is on the disk before the file is touched. While it stands, the adoption
// can be undone at any point: what follows the file's own length is cut off, and the file is
// renamed back. It is removed when the snapshot is published. So after a crash the next writer of
// the store finds either a published snapshot, or puts the file back, and the same command can be
// given again.
//
// The directory that the file comes from may be another user's, and a journal may come with a store
// from anywhere. So
// - the directory is used by descriptor, and nothing but a name in that very directory is moved;
// - once here, the file is made ours alone: no other name, our user, mode 0600, and no process that
//   could still write it (os/read_lease.h);
// - a file is put back only if it is the one that the journal was written for, into the directory
//   that it came from: by inode and time of birth, which nobody can give a file, and for which a
//   copied or unpacked store has others.
//
// A sync of the file that failed is not believed the second time: what has a trailer may have come
// so far, and goes back only when the disk is seen to have it; else a checked copy does
// (engine/lost_writes.h).
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

/// The memory file to adopt, where it is now.
struct AdoptedFile {
  int directory = -1;  ///< may be opened with O_PATH
  std::string name;
  std::string path;  ///< absolute; where it is put back to after a crash, and for messages
  int file = -1;     ///< open for reading only
  os::FileFacts facts;
};

class Adoption {
 public:
  /// Writes the journal, renames the file into `staging` as `layer_name`, and makes it ours alone.
  /// kBusy when somebody can still write it. On failure the file is where it was, or the message
  /// says where it is; the errno is EXDEV when it cannot be renamed into the store, and EOPNOTSUPP
  /// when nothing tells whether somebody can still write it. `store` and `staging` must outlive
  /// this.
  static Result<Adoption> take_over(const Store& store, const Staging& staging, const Uuid& id,
                                    const AdoptedFile& source, const std::string& layer_name);

  Adoption(Adoption&& other) noexcept
      : store_(std::exchange(other.store_, nullptr)),
        id_(std::move(other.id_)),
        source_directory_(std::move(other.source_directory_)) {}
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

  Status take(const Staging& staging, const AdoptedFile& source, const std::string& layer_name);

  const Store* store_;
  std::string id_;
  os::Fd source_directory_;
};

/// Undoes every adoption whose process is gone. What cannot be put back (its old place is taken, or
/// it is not the file that was taken from there) stays where it is, and `notes` says so; so does
/// what is another store's.
Status end_unfinished_adoptions(const Store& store, std::vector<std::string>& notes);

/// Makes adoptions of other stores, which a copy of one has, ours: end_unfinished_adoptions() will
/// put the memory file of each into this store's directory, as <id>.memory, whatever has become of
/// the file that it was made from. Returns their ids.
Result<std::vector<std::string>> adopt_foreign_adoptions(const Store& store);

}  // namespace lamina::store
