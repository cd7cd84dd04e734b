#include "os/user.h"

#include <pwd.h>
#include <sys/types.h>

#include <array>

namespace lamina::os {

std::string user_name(std::uint32_t uid) {
  constexpr std::size_t kBufferBytes = 16384;
  std::array<char, kBufferBytes> buffer{};
  struct passwd entry{};
  struct passwd* found = nullptr;
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
    return {};
  }
  return found->pw_name;
}

}  // namespace lamina::os
