#include "operations/output_directory.h"

#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/uuid.h"
#include "os/directory.h"
#include "os/file.h"

namespace lamina::operations {

Result<OutputDirectory> OutputDirectory::create(const std::string& path, const char* what) {
  OutputDirectory out;
  out.path_ = path;
  while (out.path_.size() > 1 && out.path_.ends_with('/')) out.path_.pop_back();
  LAMINA_ASSIGN_OR_RETURN(out.place_, open_output_place(out.path_, what));
  const int around = out.place_.directory.get();
  std::string temporary = fmt::format(".{}.{}", out.place_.name, Uuid::random().to_string());
  LAMINA_ASSIGN_OR_RETURN(const bool made, os::make_directory(around, temporary, out.path_));
  if (!made) return fail(ErrorKind::kExists, "'{}' already exists", temporary);
  out.temporary_ = std::move(temporary);
  LAMINA_ASSIGN_OR_RETURN(out.directory_, os::open_directory(around, *out.temporary_, out.path_));
  return out;
}

OutputDirectory::OutputDirectory(OutputDirectory&& other) noexcept
    : path_(std::move(other.path_)),
      place_(std::move(other.place_)),
      directory_(std::move(other.directory_)),
      temporary_(std::exchange(other.temporary_, std::nullopt)) {}

OutputDirectory::~OutputDirectory() {
  if (!temporary_) return;
  static_cast<void>(contain(
      "remove", [&] { return os::remove_tree(place_.directory.get(), *temporary_, path_); }));
}

Status OutputDirectory::publish() {
  LAMINA_RETURN_IF_ERROR(os::sync(directory_.get(), path_));
  const int around = place_.directory.get();
  LAMINA_RETURN_IF_ERROR(os::rename_new(around, *temporary_, around, place_.name, path_));
  temporary_.reset();
  return os::sync(around, place_.directory_path);
}

}  // namespace lamina::operations
