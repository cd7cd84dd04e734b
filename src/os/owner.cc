#include "os/owner.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "os/file.h"
#include "os/user.h"

namespace lamina::os {
namespace {

constexpr std::uint32_t kOthersMayWrite = 0022;

std::string remedy(std::uint32_t owner) {
  const std::string name = user_name(owner);
  if (::geteuid() != 0) return "run lamina as that user";
  const std::string command = name.empty() ? fmt::format("setpriv --reuid {} --clear-groups", owner)
                                           : fmt::format("runuser -u {} --", name);
  return fmt::format("run it as that user: {} lamina", command);
}

Status check(int directory, const std::string& path, std::uint32_t excused_by) {
  LAMINA_ASSIGN_OR_RETURN(const FileFacts facts, facts_of(directory, path));
  if (facts.user != ::geteuid()) {
    return with_remedy(
        fail(ErrorKind::kPermission, "'{}' belongs to user {}, so user {} does not write to it",
             path, facts.user, ::geteuid()),
        "{}", remedy(facts.user));
  }
  if ((facts.mode & kOthersMayWrite) != 0 && (facts.mode & excused_by) == 0) {
    return with_remedy(
        fail(ErrorKind::kPermission,
             "other users may write to '{}' (mode {:o}), so they could exchange its files", path,
             facts.mode),
        "run: chmod go-w {}", path);
  }
  return {};
}

}  // namespace

Status check_owner(int directory, const std::string& path) { return check(directory, path, 0); }

Status check_store_owner(int directory, const std::string& path) {
  return check(directory, path, S_ISVTX);
}

}  // namespace lamina::os
