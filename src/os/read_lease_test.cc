#include "os/read_lease.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "os/file.h"

namespace lamina::os {
namespace {

namespace fs = std::filesystem;

class ReadLeaseTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* base = std::getenv("LAMINA_TEST_DIR");
    path_ = (base != nullptr ? std::string(base) : fs::temp_directory_path().string()) +
            "/lamina-lease-XXXXXX";
    const int fd = ::mkstemp(path_.data());
    ASSERT_GE(fd, 0);
    writer_ = Fd(fd);
    ASSERT_TRUE(truncate(fd, 4096, path_));
    auto reader = open_at(AT_FDCWD, path_, O_RDONLY, path_);
    ASSERT_TRUE(reader) << reader.error().message;
    reader_ = std::move(*reader);
  }
  void TearDown() override { ::unlink(path_.c_str()); }

  std::string path_;
  Fd writer_;
  Fd reader_;
};

TEST_F(ReadLeaseTest, NotGrantedWhileTheFileIsOpenForWriting) {
  EXPECT_EQ(writers_of(reader_.get()), Writers::kSome);
  const Status refused = refuse_writers(Writers::kSome, path_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kBusy);
  EXPECT_NE(refused.error().message.find(path_), std::string::npos);
}

TEST_F(ReadLeaseTest, NotGrantedWhileTheFileIsMappedForWriting) {
  void* mapped = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer_.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  writer_.reset();
  const Writers writers = writers_of(reader_.get());
  ::munmap(mapped, 4096);
  // An overlay cannot detect mappings and reports kUnknown.
  EXPECT_NE(writers, Writers::kNone);
  EXPECT_NE(writers_of(reader_.get()), Writers::kSome);
}

TEST_F(ReadLeaseTest, OpenForWritingBreaksTheLeaseWithoutKillingTheProcess) {
  writer_.reset();
  ReadLease lease(reader_.get());
  if (lease.writers() != Writers::kNone) GTEST_SKIP() << "this file system has no leases";
  EXPECT_TRUE(lease.is_held());
  EXPECT_FALSE(open_at(AT_FDCWD, path_, O_RDWR | O_NONBLOCK, path_)) << "the writer must wait";
  EXPECT_FALSE(lease.is_held());
}

TEST_F(ReadLeaseTest, LeaseIsReleasedOnDestruction) {
  writer_.reset();
  {
    const ReadLease lease(reader_.get());
  }
  EXPECT_TRUE(open_at(AT_FDCWD, path_, O_RDWR | O_NONBLOCK, path_));
}

}  // namespace
}  // namespace lamina::os
