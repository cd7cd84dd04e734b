#include "e2b/build_directory.h"

#include <fcntl.h>

#include <optional>
#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/fd.h"
#include "os/file.h"

namespace lamina::e2b {
namespace {

class FileObject final : public StoredObject {
 public:
  FileObject(os::OpenedFile file, std::string path)
      : file_(std::move(file)), path_(std::move(path)) {}

  [[nodiscard]] std::uint64_t size_bytes() const override { return file_.facts.size_bytes; }
  /// The kernel reads ahead.
  void announce(std::uint64_t /*offset*/, std::uint64_t /*length*/) override {}
  Status read(std::uint64_t offset, std::span<std::byte> into) override {
    return os::read_exactly_at(file_.fd.get(), into, offset, path_);
  }

 private:
  os::OpenedFile file_;
  std::string path_;
};

class BuildDirectory final : public ObjectSource {
 public:
  BuildDirectory(std::string path, os::Fd directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}

  [[nodiscard]] std::string path_of(const Uuid& build, const std::string& name) const override {
    return path_ + "/" + build.to_string() + "/" + name;
  }

  Result<std::unique_ptr<StoredObject>> open(const Uuid& build, const std::string& name) override {
    LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> directory, open_build(build));
    if (!directory) return nullptr;
    std::string path = path_of(build, name);
    auto opened = os::open_regular(directory->get(), name, O_RDONLY | O_NOFOLLOW, path);
    if (opened) return std::make_unique<FileObject>(std::move(*opened), std::move(path));
    if (opened.error().kind == ErrorKind::kNotFound) return nullptr;
    return std::unexpected(std::move(opened.error()));
  }

  Result<bool> exists(const Uuid& build, const std::string& name) override {
    LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> directory, open_build(build));
    return directory && os::name_exists(directory->get(), name);
  }

 private:
  /// Absent: there is no such directory.
  [[nodiscard]] Result<std::optional<os::Fd>> open_build(const Uuid& build) const {
    const std::string name = build.to_string();
    auto opened = os::open_directory(directory_.get(), name, path_ + "/" + name);
    if (opened) return std::optional(std::move(*opened));
    if (opened.error().kind == ErrorKind::kNotFound) return std::nullopt;
    return std::unexpected(std::move(opened.error()));
  }

  std::string path_;
  os::Fd directory_;
};

}  // namespace

Result<std::unique_ptr<ObjectSource>> open_build_directory(const std::string& path) {
  auto directory = os::open_directory(AT_FDCWD, path, path);
  if (!directory) {
    return os::explain_directory_failure("directory of builds", path, std::move(directory.error()));
  }
  return std::make_unique<BuildDirectory>(path, std::move(*directory));
}

}  // namespace lamina::e2b
