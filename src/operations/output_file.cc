#include "operations/output_file.h"

#include <fcntl.h>

#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/uuid.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/path_walk.h"

namespace lamina::operations {

Result<OutputFile> OutputFile::create(const std::string& path, const char* what) {
  OutputFile out;
  out.path_ = path;
  LAMINA_RETURN_IF_ERROR(out.open_place(what));
  LAMINA_RETURN_IF_ERROR(out.open_file());
  return out;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      directory_(std::move(other.directory_)),
      directory_path_(std::move(other.directory_path_)),
      name_(std::move(other.name_)),
      file_(std::move(other.file_)),
      temporary_(std::exchange(other.temporary_, std::nullopt)) {}

OutputFile::~OutputFile() {
  if (!temporary_) return;
  static_cast<void>(
      contain("remove", [&] { return os::remove_file(directory_.get(), *temporary_, path_); }));
}

Status OutputFile::open_place(const char* what) {
  name_ = path_.substr(path_.rfind('/') + 1);  // npos + 1 is 0
  directory_path_ = os::parent_of(path_);
  if (name_.empty() || name_ == "." || name_ == "..") {
    return fail(ErrorKind::kUsage, "'{}' cannot name {}", path_, what);
  }
  auto directory = os::open_directory(AT_FDCWD, directory_path_, directory_path_);
  if (!directory) {
    return os::explain_directory_failure("directory", directory_path_,
                                         std::move(directory.error()));
  }
  directory_ = std::move(*directory);
  if (os::name_exists(directory_.get(), name_)) {
    return with_remedy(fail(ErrorKind::kExists, "'{}' already exists", path_),
                       "remove it or choose another name");
  }
  return {};
}

// The file has no name (O_TMPFILE), so that nothing is left if the process is killed. If the file
// system does not support that, or there is no /proc, which is needed to name the file, it gets a
// temporary name, which is removed on failure.
Status OutputFile::open_file() {
  auto unnamed = os::open_at(directory_.get(), ".", O_TMPFILE | O_RDWR, path_);
  if (unnamed && os::can_link_descriptor(unnamed->get())) {
    file_ = std::move(*unnamed);
    return {};
  }
  const std::string temporary = fmt::format(".{}.{}", name_, Uuid::random().to_string());
  LAMINA_ASSIGN_OR_RETURN(
      file_, os::open_at(directory_.get(), temporary, O_RDWR | O_CREAT | O_EXCL, path_));
  temporary_ = temporary;
  return {};
}

Status OutputFile::publish() {
  LAMINA_RETURN_IF_ERROR(os::sync(file_.get(), path_));
  LAMINA_RETURN_IF_ERROR(give_name());
  temporary_.reset();
  return os::sync(directory_.get(), directory_path_);
}

Status OutputFile::give_name() {
  const int directory = directory_.get();
  if (temporary_) return os::rename_new(directory, *temporary_, directory, name_, path_);
  LAMINA_ASSIGN_OR_RETURN(const bool linked,
                          os::link_descriptor(file_.get(), directory, name_, path_));
  if (linked) return {};
  return fail(ErrorKind::kFailed,
              "'{}' could not be given its name: its file system has no hard links; choose another "
              "place",
              path_);
}

}  // namespace lamina::operations
