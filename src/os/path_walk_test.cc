#include "os/path_walk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "scratch_directory.h"

namespace lamina::os {
namespace {

namespace fs = std::filesystem;

class PathWalkTest : public testing::Test {
 protected:
  PathWalkTest() {
    fs::create_directories(root_ / "a" / "b");
    std::ofstream(root_ / "a" / "b" / "file") << "inside";
    std::ofstream(root_ / "outside") << "outside";
  }

  static std::string contents(const Fd& fd) {
    std::array<std::byte, 64> buffer{};
    const auto count = read_at(fd.get(), buffer, 0, "file");
    return {reinterpret_cast<const char*>(buffer.data()), count.value_or(0)};
  }

  Result<std::string> below(const std::string& name) {
    const Fd directory(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    LAMINA_ASSIGN_OR_RETURN(const Fd fd, open_below(directory.get(), name, O_RDONLY, 0, name));
    return contents(fd);
  }

  Result<std::string> given(const std::string& path) {
    LAMINA_ASSIGN_OR_RETURN(const Fd fd, open_user_path(path, O_RDONLY, 0, path));
    return contents(fd);
  }

  /// Behaviour with the user's own links, with and without openat2(2).
  void expect_own_links_are_followed() {
    fs::create_symlink("a/b", root_ / "relative");
    fs::create_symlink(root_ / "relative", root_ / "absolute");
    fs::create_symlink("../absolute/../b/file", root_ / "a" / "up");
    fs::create_symlink("loop", root_ / "loop");
    fs::create_symlink("nothing", root_ / "dangling");
    const std::string root = root_.string();
    for (const std::string path : {"/a/b/file", "/absolute/file", "/a/up", "/a/../relative//./file",
                                   "/dangling/../a/b/file"}) {
      const auto read = given(root + path);
      if (path.starts_with("/dangling")) {
        EXPECT_EQ(read.error().kind, ErrorKind::kNotFound);
      } else {
        ASSERT_TRUE(read) << read.error().message;
        EXPECT_EQ(*read, "inside") << path;
      }
    }
    EXPECT_NE(given(root + "/loop").error().message.find("symbolic links"), std::string::npos);
    EXPECT_EQ(given(root + "/dangling").error().kind, ErrorKind::kNotFound);
    EXPECT_FALSE(given(root + "/a/b/file/"));
    EXPECT_FALSE(given(""));
    EXPECT_TRUE(open_user_path("/", O_RDONLY | O_DIRECTORY, 0, "/"));
    EXPECT_TRUE(open_user_path(".", O_RDONLY | O_DIRECTORY, 0, "."));
    EXPECT_TRUE(open_user_path(root + "/relative/", O_RDONLY | O_DIRECTORY, 0, root));
    EXPECT_TRUE(open_user_path("/proc/self/fd", O_RDONLY | O_DIRECTORY, 0, "fd"));
    // A dangling link is created through, as open(2) does, but not with O_EXCL.
    EXPECT_FALSE(open_user_path(root + "/dangling", O_WRONLY | O_CREAT | O_EXCL, 0600, root));
    EXPECT_TRUE(open_user_path(root + "/dangling", O_WRONLY | O_CREAT, 0600, root));
    EXPECT_TRUE(fs::is_regular_file(root_ / "nothing"));
    EXPECT_FALSE(open_user_path(root + "/absolute", O_RDONLY | O_NOFOLLOW, 0, root));
    const auto link = open_user_path(root + "/absolute", O_PATH | O_NOFOLLOW, 0, root);
    struct stat status{};
    ASSERT_TRUE(link);
    EXPECT_TRUE(::fstat(link->get(), &status) == 0 && S_ISLNK(status.st_mode));
    // An unlinked file can only be reached by its descriptor.
    const Fd unnamed(::open(root.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    ASSERT_EQ(::write(unnamed.get(), "unnamed", 7), 7);
    EXPECT_EQ(given("/proc/self/fd/" + std::to_string(unnamed.get())).value_or(""), "unnamed");
    EXPECT_EQ(given("/dev/fd/" + std::to_string(unnamed.get())).value_or(""), "unnamed");
  }

  tests::ScratchDirectory scratch_;
  fs::path root_ = scratch_.path();
};

TEST_F(PathWalkTest, LinksBelowADirectoryAreNotFollowed) {
  EXPECT_EQ(below("a/b/file").value_or(""), "inside");
  fs::create_symlink("b", root_ / "a" / "link");
  fs::create_symlink("../outside", root_ / "a" / "out");
  fs::create_symlink(root_ / "outside", root_ / "top");
  for (const std::string name : {"a/link/file", "a/link", "a/out", "top"}) {
    const auto read = below(name);
    ASSERT_FALSE(read) << name;
    EXPECT_EQ(read.error().kind, ErrorKind::kFailed) << name;
    EXPECT_NE(read.error().message.find("is a symbolic link"), std::string::npos) << name;
  }
  const Fd directory(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const auto as_directory = open_directory(directory.get(), "top", "top");
  ASSERT_FALSE(as_directory);
  EXPECT_EQ(as_directory.error().kind, ErrorKind::kFailed);  // not "not found"
  EXPECT_EQ(below("none").error().kind, ErrorKind::kNotFound);
}

TEST_F(PathWalkTest, NamesCannotLeaveTheirDirectory) {
  for (const std::string name : {"..", "a/..", "a/../../x", "/etc/passwd", "", "../outside"}) {
    EXPECT_FALSE(below(name)) << name;
  }
}

TEST_F(PathWalkTest, OwnLinksAreFollowed) { expect_own_links_are_followed(); }

TEST_F(PathWalkTest, OwnLinksAreFollowedWithoutOpenat2) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::array<sock_filter, 4> filter{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog program{filter.size(), filter.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
      ::_exit(2);
    }
    expect_own_links_are_followed();
    ::_exit(HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(PathWalkTest, LinksOfAnotherUserAreNotFollowed) {
  if (::geteuid() != 0) GTEST_SKIP() << "another user's directory needs root";
  constexpr uid_t kOther = 12345;
  const fs::path theirs = root_ / "theirs";
  fs::create_directories(theirs / "ours");
  ASSERT_EQ(::chown(theirs.c_str(), kOther, kOther), 0);
  for (const fs::path& place : {theirs, theirs / "ours"}) {
    fs::create_symlink(root_ / "outside", place / "link");
    fs::create_symlink(root_, place / "way");
    for (const char* path : {"link", "way/outside", "./link"}) {
      const auto read = given((place / path).string());
      ASSERT_FALSE(read) << path;
      EXPECT_NE(read.error().message.find("not followed"), std::string::npos);
    }
  }
  EXPECT_FALSE(real_path((theirs / "link").string()));
  const fs::path shared = root_ / "shared";
  fs::create_directory(shared);
  fs::permissions(shared, fs::perms::all | fs::perms::sticky_bit);
  fs::create_symlink(root_ / "outside", shared / "link");
  EXPECT_TRUE(given((shared / "link").string()));
  ASSERT_EQ(::lchown((shared / "link").c_str(), kOther, kOther), 0);
  EXPECT_FALSE(given((shared / "link").string()));
}

TEST_F(PathWalkTest, LinksThatAnotherUserCanExchangeAreNotFollowed) {
  const fs::path shared = root_ / "shared";
  fs::create_directory(shared);
  fs::create_symlink(root_ / "outside", shared / "link");
  fs::permissions(shared, fs::perms::all);
  EXPECT_FALSE(given((shared / "link").string()));
  EXPECT_FALSE(resolve_user_path((shared / "link").string()));
  EXPECT_TRUE(resolve_user_path((shared / "new").string()));
  fs::permissions(shared, fs::perms::owner_all | fs::perms::group_all);
  EXPECT_TRUE(given((shared / "link").string()));
}

TEST_F(PathWalkTest, UserPathIsResolvedThroughOwnLinks) {
  fs::create_symlink("a/b", root_ / "way");
  fs::create_symlink("way/file", root_ / "link");
  const fs::path real = fs::canonical(root_);
  for (const char* path : {"a/b/file", "way/file", "link", "./a/../link"}) {
    const auto place = resolve_user_path((root_ / path).string());
    ASSERT_TRUE(place) << place.error().message;
    EXPECT_EQ(place->path(), real / "a" / "b" / "file") << path;
    EXPECT_TRUE(open_below(place->directory.get(), place->name, O_RDONLY, 0, path));
  }
  const auto missing = resolve_user_path((root_ / "way" / "missing").string());
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->path(), real / "a" / "b" / "missing");
  EXPECT_EQ(resolve_user_path("/x-lamina")->path(), "/x-lamina");
  for (const char* path : {"", "a/", "a/b/..", "a/."}) {
    EXPECT_EQ(resolve_user_path(*path == 0 ? "" : (root_ / "").string() + path).error().kind,
              ErrorKind::kUsage)
        << path;
  }
  const Fd file(::open((root_ / "link").c_str(), O_RDONLY | O_CLOEXEC));
  const auto by_descriptor = resolve_user_path("/proc/self/fd/" + std::to_string(file.get()));
  ASSERT_TRUE(by_descriptor) << by_descriptor.error().message;
  EXPECT_EQ(by_descriptor->path(), real / "a" / "b" / "file");
}

TEST_F(PathWalkTest, NonRegularFilesAreNotOpened) {
  ASSERT_EQ(::mkfifo((root_ / "pipe").c_str(), 0600), 0);
  const auto pipe = open_regular(AT_FDCWD, (root_ / "pipe").string(), O_RDWR | O_CREAT, "pipe");
  ASSERT_FALSE(pipe);
  EXPECT_NE(pipe.error().message.find("not a file"), std::string::npos);
}

}  // namespace
}  // namespace lamina::os
