#include "os/unix_socket.h"
#include "os/path_walk.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <string_view>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"

namespace lamina::os {
namespace {

constexpr int kBacklog = 128;
constexpr std::size_t kMaxMessageFds = 16;

/// An address for bind(2) and connect(2).
struct Address {
  sockaddr_un socket{};
  Fd parent;  ///< directory that a shortened path goes through

  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&socket); }
};

/// A path that is too long for an address goes through a descriptor of its directory.
Result<Address> address_of(const std::string& path) {
  Address address;
  address.socket.sun_family = AF_UNIX;
  static_assert(kMaxSocketPathBytes == sizeof(address.socket.sun_path) - 1);
  std::string shorter = path;
  if (path.size() > kMaxSocketPathBytes) {
    const std::string parent = parent_of(path);
    LAMINA_ASSIGN_OR_RETURN(address.parent, open_directory(AT_FDCWD, parent, parent));
    shorter = fmt::format("/proc/self/fd/{}/{}", address.parent.get(),
                          std::string_view(path).substr(path.rfind('/') + 1));
  }
  if (shorter.empty() || shorter.size() > kMaxSocketPathBytes) {
    return fail(ErrorKind::kUsage,
                "'{}' cannot be the path of a socket: its name must have 1 to about {} bytes", path,
                kMaxSocketPathBytes - std::string_view("/proc/self/fd/1048576/").size());
  }
  std::memcpy(static_cast<char*>(address.socket.sun_path), shorter.data(), shorter.size());
  return address;
}

Result<Fd> make_socket(int type) {
  Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_failure("socket", "unix", errno);
  return fd;
}

/// `option` is SO_SNDTIMEO or SO_RCVTIMEO. The timeout is at least a millisecond: zero means
/// forever.
Status limit_waiting(int socket, int option, std::chrono::milliseconds wait) {
  constexpr std::int64_t kMsPerSecond = 1000;
  const std::int64_t wait_ms = std::max<std::int64_t>(wait.count(), 1);
  const timeval limit{wait_ms / kMsPerSecond, wait_ms % kMsPerSecond * kMsPerSecond};
  if (::setsockopt(socket, SOL_SOCKET, option, &limit, sizeof(limit)) != 0) {
    return system_failure("setsockopt", "unix", errno);
  }
  return {};
}

Status set_group(int socket_file, const std::string& path, const std::string& group) {
  constexpr std::size_t kBufferBytes = 16384;
  std::array<char, kBufferBytes> buffer{};
  struct ::group entry{};
  struct ::group* found = nullptr;
  if (::getgrnam_r(group.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr) {
    return fail(ErrorKind::kUsage, "there is no group '{}'", group);
  }
  if (::fchownat(socket_file, "", static_cast<uid_t>(-1), found->gr_gid, AT_EMPTY_PATH) != 0) {
    return system_failure("chown", path, errno);
  }
  return {};
}

/// Sets mode and group of the socket that was just bound. If another user owns its directory, that
/// user may have replaced it.
Status set_access(const std::string& path, const SocketAccess& access) {
  LAMINA_ASSIGN_OR_RETURN(const Fd file, open_at(AT_FDCWD, path, O_PATH | O_NOFOLLOW, path));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return system_failure("fstat", path, errno);
  if (!S_ISSOCK(status.st_mode) || status.st_uid != ::geteuid() || status.st_nlink != 1) {
    return fail(ErrorKind::kFailed, "the socket '{}' was replaced while it was set up", path);
  }
  const std::string by_descriptor = fmt::format("/proc/self/fd/{}", file.get());
  if ((status.st_mode & 07777U) != access.mode &&
      ::chmod(by_descriptor.c_str(), access.mode) != 0) {
    return system_failure("chmod", path, errno);
  }
  if (access.group.empty()) return {};
  return set_group(file.get(), path, access.group);
}

/// Sets mode and group before listen(2), so that earlier connections are refused.
Status bind_at(int socket, const std::string& path, const SocketAccess& access) {
  LAMINA_ASSIGN_OR_RETURN(const Address address, address_of(path));
  if (::bind(socket, address.get(), sizeof(address.socket)) != 0) {
    auto failure = system_failure("bind", path, errno);
    if (failure.error().kind != ErrorKind::kNotFound) return failure;
    return with_remedy(std::move(failure), "make the directory first: mkdir {}", parent_of(path));
  }
  const Status set = [&]() -> Status {
    LAMINA_RETURN_IF_ERROR(set_access(path, access));
    if (::listen(socket, kBacklog) != 0) return system_failure("listen", path, errno);
    return {};
  }();
  if (!set) ::unlink(path.c_str());
  return set;
}

/// Locks a directory; gives up if it is locked elsewhere for long.
void wait_a_while_for_lock(int directory, const std::string& path) {
  constexpr int kAttempts = 100;
  constexpr int kPauseMs = 10;
  for (int i = 0; i < kAttempts; ++i) {
    const auto locked = try_lock(directory, path);
    if (!locked || *locked) return;
    ::poll(nullptr, 0, kPauseMs);
  }
}

/// Removes an existing socket if it may be replaced.
Status clear_path(const std::string& path, ReplaceSocket replace) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) {
    return with_remedy(fail(ErrorKind::kExists, "'{}' exists and is not a socket", path),
                       "choose another path");
  }
  if (replace == ReplaceSocket::kIfDead) {
    // A process whose backlog is full listens too.
    constexpr std::chrono::seconds kLongest{1};
    const auto connection = connect_to(path, kLongest);
    if (connection || connection.error().kind == ErrorKind::kBusy) {
      return with_remedy(fail(ErrorKind::kBusy, "a process listens on '{}'", path),
                         "choose another path");
    }
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return system_failure("unlink", path, errno);
  return {};
}

}  // namespace

Result<Fd> listen_at(const std::string& path, const SocketAccess& access) {
  LAMINA_RETURN_IF_ERROR(address_of(path));
  // Two processes that start at once must not replace each other's new socket before it listens.
  // (If the directory cannot be opened, bind() reports it.)
  Fd directory;
  if (!access.directory_is_locked) {
    const std::string parent = parent_of(path);
    auto opened = open_at(AT_FDCWD, parent, O_RDONLY | O_DIRECTORY, parent);
    if (opened) {
      directory = std::move(*opened);
      wait_a_while_for_lock(directory.get(), parent);
    }
  }
  LAMINA_RETURN_IF_ERROR(clear_path(path, access.replace));
  LAMINA_ASSIGN_OR_RETURN(Fd fd, make_socket(SOCK_STREAM | SOCK_NONBLOCK));
  LAMINA_RETURN_IF_ERROR(bind_at(fd.get(), path, access));
  return fd;
}

Result<Fd> connect_to(const std::string& path, std::optional<std::chrono::milliseconds> wait) {
  LAMINA_ASSIGN_OR_RETURN(const Address address, address_of(path));
  LAMINA_ASSIGN_OR_RETURN(Fd fd, make_socket(SOCK_STREAM));
  if (wait) LAMINA_RETURN_IF_ERROR(limit_waiting(fd.get(), SO_SNDTIMEO, *wait));
  while (::connect(fd.get(), address.get(), sizeof(address.socket)) != 0) {
    if (errno == EINTR) continue;
    if (errno == ECONNREFUSED) {
      return fail(ErrorKind::kNotFound, "no process listens on '{}'", path);
    }
    // EAGAIN: the time has passed, or the backlog of a socket that does not wait is full.
    const ErrorKind kind = errno == EAGAIN ? ErrorKind::kBusy : ErrorKind::kFailed;
    auto failure = system_failure("connect", path, errno);
    return kind == ErrorKind::kBusy ? of_kind(kind, std::move(failure)) : failure;
  }
  return fd;
}

Status limit_receiving(int socket, std::chrono::milliseconds wait) {
  return limit_waiting(socket, SO_RCVTIMEO, wait);
}

Result<std::optional<Fd>> accept_connection(int listening, const std::string& path) {
  while (true) {
    Fd fd(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid()) return std::optional(std::move(fd));
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) return std::nullopt;
    return system_failure("accept", path, errno);
  }
}

Result<std::pair<Fd, Fd>> message_socket_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return system_failure("socketpair", "unix", errno);
  }
  return std::pair(Fd(ends[0]), Fd(ends[1]));
}

Status send_message(int socket, std::span<const std::byte> message, std::span<const int> fds,
                    WhenFull when_full) {
  // sendmsg(2) does not write to the buffer.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
  iovec vector{const_cast<std::byte*>(message.data()), message.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxMessageFds * sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  const int flags = MSG_NOSIGNAL | (when_full == WhenFull::kFail ? MSG_DONTWAIT : 0);
  while (::sendmsg(socket, &header, flags) < 0) {
    if (errno != EINTR) return system_failure("sendmsg", "message socket", errno);
  }
  return {};
}

namespace {

/// Calls `use` with each descriptor of a message.
template <typename Use>
void for_each_descriptor(msghdr& message, Use use) {
  for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
    if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(one) + i * sizeof(int), sizeof(int));
      use(fd);
    }
  }
}

}  // namespace

std::vector<Fd> take_descriptors(msghdr& message) {
  std::size_t count = 0;
  for_each_descriptor(message, [&](int) { ++count; });
  std::vector<Fd> fds;
  try {
    fds.reserve(count);
  } catch (const std::bad_alloc&) {
    for_each_descriptor(message, [](int fd) { ::close(fd); });
    throw;
  }
  for_each_descriptor(message, [&](int fd) { fds.emplace_back(fd); });
  return fds;
}

Result<Message> receive_message(int socket, std::size_t max_bytes) {
  Message message;
  message.bytes.resize(max_bytes);
  iovec vector{message.bytes.data(), message.bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxMessageFds * sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t count = -1;
  while ((count = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC)) < 0) {
    if (errno == ECONNRESET) return Message{};
    if (errno != EINTR) return system_failure("recvmsg", "message socket", errno);
  }
  message.bytes.resize(static_cast<std::size_t>(count));
  message.fds = take_descriptors(header);
  return message;
}

}  // namespace lamina::os
