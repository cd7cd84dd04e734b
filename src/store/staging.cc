#include "store/staging.h"
#include "store/areas.h"

#include <fcntl.h>

#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/directory.h"
#include "os/hole_probe.h"
#include "os/lock.h"

namespace lamina::store {
namespace {

/// How often a staging directory is made again if the clean-up of another process removes it.
constexpr int kCreateAttempts = 100;

Result<bool> still_named(int area, const std::string& name, int directory,
                         const std::string& path) {
  const auto by_name = os::open_directory(area, name, path);
  if (!by_name) {
    if (by_name.error().kind == ErrorKind::kNotFound) return false;
    return std::unexpected(by_name.error());
  }
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts named, os::facts_of(by_name->get(), path));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts opened, os::facts_of(directory, path));
  return named.same_file(opened);
}

std::string temporary_path(const Store& store, const std::string& id) {
  return fmt::format("{}/{}/{}", store.path(), kTemporaryArea, id);
}

/// Moves a directory from the pending area to the temporary one. It is not an error if it does not
/// exist.
Status take_out_of_pending(const Store& store, const std::string& id) {
  const Status moved = os::rename_new(store.pending_area(), id, store.temporary_area(), id,
                                      temporary_path(store, id));
  if (!moved && moved.error().kind == ErrorKind::kNotFound) return {};
  return moved;
}

}  // namespace

Result<Staging> Staging::create(const Store& store, Area area, const Uuid& id) {
  Staging staging(store, area, id.to_string());
  const std::string path = staging.path();
  for (int attempt = 0; attempt < kCreateAttempts; ++attempt) {
    LAMINA_RETURN_IF_ERROR(os::make_directory(staging.area_fd(), staging.id_, path));
    auto directory = os::open_directory(staging.area_fd(), staging.id_, path);
    if (!directory) {
      if (directory.error().kind == ErrorKind::kNotFound) continue;
      return std::unexpected(directory.error());
    }
    // A clean-up may have locked the new directory first and removed it. Then the name is free or
    // names another directory: make it again.
    LAMINA_RETURN_IF_ERROR(os::wait_for_lock(directory->get(), path));
    LAMINA_ASSIGN_OR_RETURN(const bool named,
                            still_named(staging.area_fd(), staging.id_, directory->get(), path));
    if (!named) continue;
    staging.directory_ = os::LockedFd(std::move(*directory));
    return staging;
  }
  return fail(ErrorKind::kBusy, "'{}' could not be locked: another process keeps removing it",
              path);
}

Result<std::optional<Staging>> Staging::open_existing(const Store& store, const Uuid& id) {
  Staging staging(store, Area::kPending, id.to_string());
  const std::string path = staging.path();
  auto directory = os::open_directory(staging.area_fd(), staging.id_, path);
  if (!directory) {
    if (directory.error().kind == ErrorKind::kNotFound) return std::nullopt;
    return std::unexpected(directory.error());
  }
  LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(directory->get(), path));
  if (!locked) return std::nullopt;
  // The directory may have been published between the two calls.
  LAMINA_ASSIGN_OR_RETURN(const bool named,
                          still_named(staging.area_fd(), staging.id_, directory->get(), path));
  if (!named) return std::nullopt;
  staging.directory_ = os::LockedFd(std::move(*directory));
  return std::optional(std::move(staging));
}

Staging::~Staging() {
  if (!directory_.valid() || published_ || left_ || area_ != Area::kTemporary) return;
  // If this fails, the next writer's clean-up removes it.
  static_cast<void>(contain("remove", [&] { return os::remove_tree(area_fd(), id_, path()); }));
}

int Staging::area_fd() const {
  return area_ == Area::kTemporary ? store_->temporary_area() : store_->pending_area();
}

std::string Staging::area_path() const {
  return fmt::format("{}/{}", store_->path(),
                     area_ == Area::kTemporary ? kTemporaryArea : kPendingArea);
}

std::string Staging::path() const { return area_path() + "/" + id_; }

Status Staging::sync_contents() const { return is_synced_ ? Status() : os::sync(fd(), path()); }

Status Staging::sync_parents() const {
  LAMINA_RETURN_IF_ERROR(os::sync(store_->fd(), store_->path()));
  return os::sync(area_fd(), area_path());
}

Status Staging::sync_published(const std::string& name) const {
  const Status synced = sync_parents();
  if (synced) return {};
  return std::unexpected(
      with_context(fmt::format("'{}/{}' was published, but may not survive a power failure",
                               store_->path(), name),
                   synced.error()));
}

Status Staging::publish_new(const std::string& name) {
  LAMINA_RETURN_IF_ERROR(sync_contents());
  LAMINA_RETURN_IF_ERROR(
      os::rename_new(area_fd(), id_, store_->fd(), name, store_->path() + "/" + name));
  published_ = true;
  return sync_published(name);
}

Status Staging::move_to(int directory, const std::string& name, const std::string& object) {
  LAMINA_RETURN_IF_ERROR(os::sync(fd(), path()));
  LAMINA_RETURN_IF_ERROR(os::rename_new(area_fd(), id_, directory, name, object));
  published_ = true;
  return {};
}

Status Staging::publish_replacing(const std::string& name, const os::FileFacts& replaced,
                                  std::vector<std::string>& notes) {
  const std::string target = store_->path() + "/" + name;
  LAMINA_RETURN_IF_ERROR(sync_contents());
  LAMINA_ASSIGN_OR_RETURN(const os::Fd current, os::open_directory(store_->fd(), name, target));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(current.get(), target));
  if (!facts.same_file(replaced)) {
    return fail(ErrorKind::kBusy,
                "snapshot '{}' was replaced by another process meanwhile; try again", target);
  }
  // Lock the replaced directory, so that no clean-up removes it while this process does.
  static_cast<void>(os::try_lock(current.get(), target));
  LAMINA_RETURN_IF_ERROR(os::rename_exchange(area_fd(), id_, store_->fd(), name, target));
  published_ = true;
  // Rename before the syncs, which then cover it too. If the files were removed before this rename
  // is on the disk, a power failure could leave some of them under the name of a pause or an
  // adoption.
  const Status taken_out = area_ == Area::kPending ? take_out_of_pending(*store_, id_) : Status();
  left_replaced_ = !taken_out;
  LAMINA_RETURN_IF_ERROR(sync_published(name));
  const Status removed =
      taken_out ? os::remove_tree(store_->temporary_area(), id_, temporary_path(*store_, id_))
                : taken_out;
  if (!removed) {
    notes.push_back(fmt::format("the directory that '{}' replaced could not be removed: {}", target,
                                one_line(removed.error())));
  }
  return {};
}

Status remove_pending(const Store& store, const std::string& id, std::vector<std::string>& notes) {
  LAMINA_RETURN_IF_ERROR(take_out_of_pending(store, id));
  LAMINA_RETURN_IF_ERROR(os::sync(store.fd(), store.path()));
  LAMINA_RETURN_IF_ERROR(os::sync(store.pending_area(), store.path() + "/" + kPendingArea));
  const std::string path = temporary_path(store, id);
  const Status removed = os::remove_tree(store.temporary_area(), id, path);
  if (!removed) {
    notes.push_back(fmt::format("'{}' is not needed and could not be removed: {}", path,
                                one_line(removed.error())));
  }
  return {};
}

Status clean_temporary_area(const Store& store, std::vector<std::string>& notes) {
  const std::string area = fmt::format("{}/{}", store.path(), kTemporaryArea);
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(store.temporary_area(), area));
  bool synced = false;
  for (const std::string& name : names) {
    const std::string path = area + "/" + name;
    if (os::is_hole_probe(name)) {
      static_cast<void>(os::remove_file(store.temporary_area(), name, path));
      continue;
    }
    auto directory = os::open_directory(store.temporary_area(), name, path);
    if (!directory) continue;  // removed meanwhile, or of another user
    LAMINA_ASSIGN_OR_RETURN(const bool unused, os::try_lock(directory->get(), path));
    // The name may belong to another directory by now: a builder makes its directory again if a
    // clean-up removed it.
    if (!unused) continue;
    const auto named = still_named(store.temporary_area(), name, directory->get(), path);
    if (!named || !*named) continue;
    // The entry may be the old directory of a snapshot whose replacement is not on the disk yet.
    if (!std::exchange(synced, true)) {
      LAMINA_RETURN_IF_ERROR(os::sync(store.fd(), store.path()));
      LAMINA_RETURN_IF_ERROR(os::sync(store.temporary_area(), area));
    }
    // The same holds for its contents: a pin, or a pin's base.
    LAMINA_RETURN_IF_ERROR(os::sync(directory->get(), path));
    // An empty directory was just made and is not locked yet: not worth a note.
    const auto files = os::list_directory(directory->get(), path);
    const bool is_empty = files && files->empty();
    const Status removed = os::remove_tree(store.temporary_area(), name, path);
    if (removed && is_empty) continue;
    notes.push_back(
        removed ? fmt::format("removed '{}', left by a process that did not end", path)
                : fmt::format("'{}', left by a process that did not end, could not be removed: {}",
                              path, one_line(removed.error())));
  }
  return {};
}

}  // namespace lamina::store
