#include "operations/output_file.h"

#include <fcntl.h>

#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/uuid.h"
#include "os/directory.h"
#include "os/file.h"

namespace lamina::operations {

Result<OutputFile> OutputFile::create(const std::string& path, const char* what) {
  OutputFile out;
  out.path_ = path;
  LAMINA_ASSIGN_OR_RETURN(out.place_, open_output_place(path, what));
  LAMINA_RETURN_IF_ERROR(out.open_file());
  return out;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      place_(std::move(other.place_)),
      file_(std::move(other.file_)),
      temporary_(std::exchange(other.temporary_, std::nullopt)) {}

OutputFile::~OutputFile() {
  if (!temporary_) return;
  static_cast<void>(contain(
      "remove", [&] { return os::remove_file(place_.directory.get(), *temporary_, path_); }));
}

// The file has no name (O_TMPFILE), so that nothing is left if the process is killed. If the file
// system does not support that, or there is no /proc, which is needed to name the file, it gets a
// temporary name, which is removed on failure.
Status OutputFile::open_file() {
  auto unnamed = os::open_at(place_.directory.get(), ".", O_TMPFILE | O_RDWR, path_);
  if (unnamed && os::can_link_descriptor(unnamed->get())) {
    file_ = std::move(*unnamed);
    return {};
  }
  const std::string temporary = fmt::format(".{}.{}", place_.name, Uuid::random().to_string());
  LAMINA_ASSIGN_OR_RETURN(
      file_, os::open_at(place_.directory.get(), temporary, O_RDWR | O_CREAT | O_EXCL, path_));
  temporary_ = temporary;
  return {};
}

Status OutputFile::publish() {
  LAMINA_RETURN_IF_ERROR(os::sync(file_.get(), path_));
  LAMINA_RETURN_IF_ERROR(give_name());
  temporary_.reset();
  return os::sync(place_.directory.get(), place_.directory_path);
}

Status OutputFile::give_name() {
  const int directory = place_.directory.get();
  if (temporary_) return os::rename_new(directory, *temporary_, directory, place_.name, path_);
  LAMINA_ASSIGN_OR_RETURN(const bool linked,
                          os::link_descriptor(file_.get(), directory, place_.name, path_));
  if (linked) return {};
  return fail(ErrorKind::kFailed,
              "'{}' could not be given its name: its file system has no hard links; choose another "
              "place",
              path_);
}

}  // namespace lamina::operations
