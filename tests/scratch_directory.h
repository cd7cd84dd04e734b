// A directory for the files of one test.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace lamina::tests {

/// Makes an empty directory, and removes it with all that is in it at the end. It is below
/// `$LAMINA_TEST_DIR`, else below the system's directory for temporary files, with links resolved.
class ScratchDirectory {
 public:
  /// Throws std::runtime_error if the directory cannot be made.
  ScratchDirectory() : ScratchDirectory(default_parent()) {}
  /// The same in the directory `above`, for a test that needs its file system.
  explicit ScratchDirectory(const std::filesystem::path& above) {
    std::string name = (above / "lamina-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
    path_ = std::filesystem::canonical(name);
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ScratchDirectory(ScratchDirectory&&) = delete;
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  /// The path of `name` in it.
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  static std::filesystem::path default_parent() {
    const char* given = ::getenv("LAMINA_TEST_DIR");
    return given != nullptr ? std::filesystem::path(given) : std::filesystem::temp_directory_path();
  }

  std::filesystem::path path_;
};

}  // namespace lamina::tests
