// A snapshot directory while it is built, and the moment it is published.
//
// Publishing is a rename of the finished directory. The order at the power's mercy: every file in
// the directory is synced by whoever writes it; then the directory; then the rename (and one more,
// that takes a replaced directory out of the pending area); then both parent directories; only then
// is a directory that was replaced removed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "os/fd.h"
#include "os/file.h"
#include "store/store.h"

namespace lamina::store {

/// Where a staging directory lives: what is in the pending area holds the only copy of something
/// and is never removed by the clean-up of the temporary area.
enum class Area : std::uint8_t { kTemporary, kPending };

class Staging {
 public:
  /// Makes and locks the directory <area>/<id>. `store` must outlive it.
  static Result<Staging> create(const Store& store, Area area, const Uuid& id);

  /// Locks a directory of the pending area that is there already. Nothing when there is none (any
  /// more), or another process has it locked.
  static Result<std::optional<Staging>> open_existing(const Store& store, const Uuid& id);

  Staging(Staging&&) noexcept = default;
  Staging& operator=(Staging&&) = delete;
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  /// Removes the directory of the temporary area with what is in it, unless it was published.
  ~Staging();

  [[nodiscard]] int fd() const { return directory_.get(); }
  [[nodiscard]] std::string path() const;
  [[nodiscard]] std::string file_path(const std::string& name) const { return path() + "/" + name; }
  [[nodiscard]] bool is_published() const { return published_; }

  /// Leaves the directory, with what is in it, to clean_temporary_area() of the next writer, which
  /// syncs before it removes.
  void leave() { left_ = true; }

  /// Makes the directory the snapshot `name`, which must not exist. REQUIRES: its lock is held, and
  /// every file in it is synced. After a failure is_published() tells whether the rename was done
  /// (then the snapshot is there, but may not be on the disk).
  Status publish_new(const std::string& name);

  /// Puts the directory in the place of the snapshot `name`, whose directory must still be
  /// `replaced` (kBusy otherwise), and removes that one. When it cannot be removed, the publication
  /// stands: a note says so, and the next writer's clean-up tries again. The rest as publish_new.
  Status publish_replacing(const std::string& name, const os::FileFacts& replaced,
                           std::vector<std::string>& notes);

  /// True when the directory that was replaced is still in the pending area, under path().
  [[nodiscard]] bool left_replaced() const { return left_replaced_; }

 private:
  Staging(const Store& store, Area area, std::string id)
      : store_(&store), area_(area), id_(std::move(id)) {}

  [[nodiscard]] int area_fd() const;
  [[nodiscard]] std::string area_path() const;
  [[nodiscard]] Status sync_parents() const;
  [[nodiscard]] Status sync_published(const std::string& name) const;

  const Store* store_;
  Area area_;
  std::string id_;
  os::Fd directory_;
  bool published_ = false;
  bool left_ = false;
  bool left_replaced_ = false;
};

/// Takes a directory out of the pending area in one step, durably (and with that what has taken its
/// place, where it was replaced), so that neither a crash nor a power failure can leave half of it
/// there, or all of it without its journal; then removes it. What cannot be removed is left to
/// clean_temporary_area(), and `notes` says so. REQUIRES: the directory is locked.
Status remove_pending(const Store& store, const std::string& id, std::vector<std::string>& notes);

/// Removes the entries of the temporary area that nobody has locked.
Status clean_temporary_area(const Store& store, std::vector<std::string>& notes);

}  // namespace lamina::store
