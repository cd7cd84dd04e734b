#include "os/process_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "os/file.h"
#include "scratch_directory.h"

namespace lamina::os {
namespace {

constexpr std::size_t kMappedPage = 4096;
constexpr std::size_t kMappedPages = 512;

TEST(ProcessMemory, MappingsAreParsed) {
  const auto mappings = parse_mappings(
      "00400000-00452000 r-xp 00000000 08:02 173521 /usr/bin/x\n"
      "7f0000000000-7f0000100000 rw-p 00200000 fe:01 42     /a b (deleted)\n"
      "7f0000200000-7f0000300000 rw-s 00000000 00:01 7 /memfd:x (deleted)\n"
      "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]\n"
      "rubbish\n"
      "7f-\n");
  ASSERT_EQ(mappings.size(), 3U);
  EXPECT_EQ(mappings[1].begin, 0x7f0000000000U);
  EXPECT_EQ(mappings[1].file_offset, 0x200000U);
  EXPECT_EQ(mappings[1].inode, 42U);
  EXPECT_TRUE(mappings[1].is_private);
  EXPECT_FALSE(mappings[2].is_private);
}

/// A child process that shares the mapping's copy-on-write state from the moment of its birth: it
/// maps the file itself, uses it as told, and stops.
class MappingChild {
 public:
  MappingChild(int file, const std::vector<int>& uses, std::byte* at) : pid_(::fork()) {
    if (pid_ != 0) {
      int status = 0;
      ::waitpid(pid_, &status, WUNTRACED);
      return;
    }
    void* memory = ::mmap(at, kMappedPages * kMappedPage, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_FIXED, file, 0);
    if (memory == MAP_FAILED) ::_exit(1);
    auto* bytes = static_cast<char*>(memory);
    for (std::size_t page = 0; page < kMappedPages; ++page) {
      char* place = bytes + page * kMappedPage;
      volatile char* first = place;
      switch (uses[page]) {
        case 1:
          static_cast<void>(*first);
          break;
        case 2:
          *first = static_cast<char>(page);
          break;
        case 3:
          *first = 1;
          ::madvise(place, kMappedPage, MADV_DONTNEED);
          break;
        default:
          break;
      }
    }
    ::raise(SIGSTOP);
    ::_exit(0);
  }
  MappingChild(const MappingChild&) = delete;
  MappingChild& operator=(const MappingChild&) = delete;
  ~MappingChild() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

/// Which of the mapped pages, from address `begin`, are in `written`.
std::vector<bool> pages_in(const std::vector<ByteRange>& written, std::uint64_t begin) {
  std::vector<bool> found(kMappedPages);
  for (const ByteRange& run : written) {
    for (std::uint64_t at = run.offset; at < run.end(); at += kMappedPage) {
      found[(at - begin) / kMappedPage] = true;
    }
  }
  return found;
}

/// Whether the file with those facts is mapped privately at `begin`.
bool is_mapped_at(const std::vector<FileMapping>& mappings, const FileFacts& file,
                  std::uint64_t begin) {
  return std::any_of(mappings.begin(), mappings.end(), [&](const FileMapping& mapping) {
    return mapping.inode == file.inode && mapping.device == file.device && mapping.begin == begin &&
           mapping.is_private;
  });
}

TEST(ProcessMemory, ExactlyTheWrittenPagesAreFound) {
  const tests::ScratchDirectory scratch;
  const std::string path = (scratch.path() / "file").string();
  const Fd file = open_at(AT_FDCWD, path, O_RDWR | O_CREAT, path).value();
  const std::vector<std::byte> contents(kMappedPages * kMappedPage, std::byte{0x5a});
  ASSERT_TRUE(write_at(file.get(), contents, 0, path));
  void* place =
      ::mmap(nullptr, kMappedPages * kMappedPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(place, MAP_FAILED);
  const auto begin = reinterpret_cast<std::uint64_t>(place);
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    std::vector<int> uses(kMappedPages);
    for (int& use : uses) use = static_cast<int>(random() % 4);
    const MappingChild child(file.get(), uses, static_cast<std::byte*>(place));
    const auto memory = ProcessMemory::open(child.pid());
    if (!memory && memory.error().kind == ErrorKind::kPermission) GTEST_SKIP() << "no ptrace";
    ASSERT_TRUE(memory) << memory.error().message;
    for (const PageScan scan : {PageScan::kAuto, PageScan::kEntries}) {
      const auto written = memory->written_pages(begin, begin + kMappedPages * kMappedPage, scan);
      ASSERT_TRUE(written) << written.error().message;
      const std::vector<bool> found = pages_in(*written, begin);
      for (std::size_t page = 0; page < kMappedPages; ++page) {
        ASSERT_EQ(found[page], uses[page] == 2) << "page " << page << " use " << uses[page];
      }
    }
    std::vector<std::byte> page(kMappedPage);
    ASSERT_TRUE(memory->read(page, begin + 7 * kMappedPage));
    const auto expected = uses[7] == 2 ? std::byte{7} : std::byte{0x5a};
    EXPECT_EQ(page[0], expected);
    EXPECT_EQ(page[1], std::byte{0x5a});
    const auto mappings = file_mappings_of(child.pid());
    ASSERT_TRUE(mappings);
    const auto opened = open_regular(AT_FDCWD, path, O_RDONLY, path);
    ASSERT_TRUE(opened);
    // (On btrfs the device of stat(2) is another one.)
    const auto facts = facts_as_mapped(*opened, path);
    ASSERT_TRUE(facts) << facts.error().message;
    EXPECT_TRUE(is_mapped_at(*mappings, *facts, begin));
  }
  ::munmap(place, kMappedPages * kMappedPage);
}

TEST(ProcessMemory, AProcessThatDoesNotExistIsAnError) {
  EXPECT_FALSE(ProcessMemory::open(1 << 30));
  EXPECT_FALSE(file_mappings_of(1 << 30));
}

}  // namespace
}  // namespace lamina::os
