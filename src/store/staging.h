// A snapshot's directory while it is built, and its publication.
//
// Publishing renames the finished directory. The order makes it safe against a power failure: each
// file is synced by its writer; then the directory is synced; then it is renamed (and a replaced
// directory is moved out of the pending area); then both parent directories are synced; only then
// is a replaced directory removed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/file.h"
#include "os/lock.h"
#include "store/store.h"

namespace lamina::store {

/// The area of a staging directory. Directories in the pending area hold the only copy of some
/// data, and no clean-up removes them.
enum class Area : std::uint8_t { kTemporary, kPending };

/// A locked staging directory. Used by one thread.
class Staging {
 public:
  /// Makes and locks the directory <area>/<id>. `store` must outlive this.
  static Result<Staging> create(const Store& store, Area area, const Uuid& id);

  /// Locks an existing directory of the pending area. Empty if there is none, or another process
  /// holds its lock.
  static Result<std::optional<Staging>> open_existing(const Store& store, const Uuid& id);

  Staging(Staging&&) noexcept = default;
  Staging& operator=(Staging&&) = delete;
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  /// Removes a directory of the temporary area and its contents, unless it was published.
  ~Staging();

  [[nodiscard]] int fd() const { return directory_.get(); }
  [[nodiscard]] std::string path() const;
  [[nodiscard]] std::string file_path(const std::string& name) const { return path() + "/" + name; }
  [[nodiscard]] bool is_published() const { return published_; }

  /// The caller has synced the directory and makes or removes no file in it from here on: it is not
  /// synced again before it is published.
  void note_synced() { is_synced_ = true; }

  /// The destructor will not remove the directory: clean_temporary_area() of the next writer does,
  /// after a sync.
  void leave() { left_ = true; }

  /// Publishes the directory as snapshot `name`, which must not exist. REQUIRES: the caller holds
  /// the lock of the name, and each file in the directory is synced. After a failure is_published()
  /// tells whether the rename was done; then the snapshot exists, but may not be on the disk.
  Status publish_new(const std::string& name);

  /// Syncs the directory, and moves it to `name` in another directory of the store, where no name
  /// of that kind exists; from then on it is not this object's. `object` is its new path. The
  /// caller syncs `directory`.
  Status move_to(int directory, const std::string& name, const std::string& object);

  /// Publishes the directory in place of snapshot `name`, whose directory must still be `replaced`
  /// (else kBusy), and removes that directory. If it cannot be removed, a note says so, and the
  /// next writer's clean-up tries again. For the rest see publish_new().
  Status publish_replacing(const std::string& name, const os::FileFacts& replaced,
                           std::vector<std::string>& notes);

  /// True if the replaced directory is still in the pending area, at path().
  [[nodiscard]] bool left_replaced() const { return left_replaced_; }

 private:
  Staging(const Store& store, Area area, std::string id)
      : store_(&store), area_(area), id_(std::move(id)) {}

  [[nodiscard]] int area_fd() const;
  [[nodiscard]] std::string area_path() const;
  [[nodiscard]] Status sync_contents() const;
  [[nodiscard]] Status sync_parents() const;
  [[nodiscard]] Status sync_published(const std::string& name) const;

  const Store* store_;
  Area area_;
  std::string id_;
  os::LockedFd directory_;
  bool is_synced_ = false;
  bool published_ = false;
  bool left_ = false;
  bool left_replaced_ = false;
};

/// Removes a directory of the pending area. It is first renamed out of that area, and the rename is
/// synced, so neither a crash nor a power failure leaves a part of it there, or all of it without
/// its journal. If it cannot be removed after that, `notes` says so, and clean_temporary_area()
/// removes it. REQUIRES: the caller holds the lock of the directory.
Status remove_pending(const Store& store, const std::string& id, std::vector<std::string>& notes);

/// Removes the entries of the temporary area that no process has locked.
Status clean_temporary_area(const Store& store, std::vector<std::string>& notes);

}  // namespace lamina::store
