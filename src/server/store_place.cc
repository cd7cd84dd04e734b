#include "server/store_place.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/path_walk.h"

namespace lamina::server {
namespace {

bool leads_to(const std::string& path, const struct stat& directory) {
  struct stat there{};
  return ::stat(path.c_str(), &there) == 0 && there.st_dev == directory.st_dev &&
         there.st_ino == directory.st_ino;
}

}  // namespace

Result<StorePlace> StorePlace::open(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(std::string absolute, os::real_path(path));
  LAMINA_ASSIGN_OR_RETURN(os::Fd directory, os::open_directory(AT_FDCWD, absolute, path));
  return StorePlace(std::move(absolute), std::move(directory));
}

std::string StorePlace::path() const {
  struct stat directory{};
  if (::fstat(directory_.get(), &directory) != 0 || leads_to(path_, directory)) return path_;
  const std::string link = fmt::format("/proc/self/fd/{}", directory_.get());
  std::array<char, 4096> target{};
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  const std::string now(target.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  return leads_to(now, directory) ? now : link;
}

}  // namespace lamina::server
