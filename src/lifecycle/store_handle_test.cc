#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "lamina/store.h"
#include "lifecycle/stop_after.h"
#include "scratch_directory.h"

namespace lamina {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMemoryBlocks = 64;
constexpr std::size_t kBytesOfBlock = 4096;

class StoreHandleTest : public testing::Test {
 protected:
  StoreHandleTest() { fs::create_directory(directory_ / "store"); }

  /// Blocks of data, of zeros and of both, in turn.
  std::vector<std::byte> memory() {
    std::vector<std::byte> bytes(kMemoryBlocks * kBytesOfBlock);
    for (std::size_t block = 0; block < kMemoryBlocks; block += 3) {
      std::generate_n(bytes.begin() + static_cast<std::ptrdiff_t>(block * kBytesOfBlock),
                      kBytesOfBlock / (1 + block % 2), [&] { return std::byte(random_() | 1U); });
    }
    return bytes;
  }

  Store open() {
    auto store = Store::open(store_path());
    EXPECT_TRUE(store) << store.error().message;
    return *store;
  }

  [[nodiscard]] std::string store_path() const { return (directory_ / "store").string(); }

  std::string write_file(const std::string& name, const std::vector<std::byte>& bytes) {
    const fs::path path = directory_ / name;
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return path.string();
  }

  static void expect_memory(const Store& store, const std::string& name,
                            const std::vector<std::byte>& expected) {
    const auto reader = store.read(name);
    ASSERT_TRUE(reader) << reader.error().message;
    std::vector<std::byte> bytes(expected.size());
    ASSERT_EQ(reader->memory_bytes(), bytes.size());
    ASSERT_TRUE(reader->read(0, bytes));
    EXPECT_TRUE(bytes == expected) << name;
  }

  tests::ScratchDirectory scratch_;
  fs::path directory_ = scratch_.path();
  std::minstd_rand random_;  // NOLINT(bugprone-random-generator-seed): the same every time
  std::vector<std::byte> bytes_ = memory();
};

TEST_F(StoreHandleTest, MemoryIsIngestedFromAPathADescriptorAndABuffer) {
  const Store store = open();
  const std::vector<std::byte> bytes = memory();
  const std::string path = write_file("memory", bytes);
  ASSERT_TRUE(store.ingest({.memory_file = path, .snapshot = "path"}));
  ASSERT_TRUE(store.ingest({.memory = bytes, .snapshot = "buffer"}));
  const int named = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_TRUE(store.ingest({.memory_fd = named, .snapshot = "descriptor"}));
  fs::remove(path);
  ASSERT_TRUE(store.ingest({.memory_fd = named, .snapshot = "unnamed"}));
  ::close(named);
  for (const char* name : {"path", "buffer", "descriptor", "unnamed"}) {
    expect_memory(store, name, bytes);
  }
}

TEST_F(StoreHandleTest, MemoryIsGivenInOneWayOnly) {
  const Store store = open();
  const std::vector<std::byte> bytes = memory();
  EXPECT_EQ(store.ingest({.snapshot = "a"}).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(store.ingest({.memory_file = "x", .memory = bytes, .snapshot = "a"}).error().kind,
            ErrorKind::kUsage);
  EXPECT_FALSE(store.ingest({.memory_fd = 12345, .snapshot = "a"}));
  EXPECT_TRUE(store.list()->snapshots.empty());
}

TEST_F(StoreHandleTest, DiffWithoutANameIsRefused) {
  const Store store = open();
  const std::vector<std::byte> bytes = memory();
  ASSERT_TRUE(store.ingest({.memory = bytes, .snapshot = "base"}));
  const auto diff = store.ingest({.memory = bytes, .snapshot = "a", .parent = "base"});
  ASSERT_FALSE(diff);
  EXPECT_NE(diff.error().message.find("has no name"), std::string::npos) << diff.error().message;
  const auto taken = store.ingest({.memory = bytes, .snapshot = "a", .consume = true});
  EXPECT_EQ(taken.error().kind, ErrorKind::kUsage);
}

TEST_F(StoreHandleTest, AnyRangeIsReadAsTheMemoryHasIt) {
  const Store store = open();
  const std::vector<std::byte> bytes = memory();
  ASSERT_TRUE(store.ingest({.memory = bytes, .snapshot = "a"}));
  const auto reader = store.read("a");
  ASSERT_TRUE(reader);
  for (int round = 0; round < 500; ++round) {
    const std::size_t offset = random_() % (bytes.size() + 1);
    std::vector<std::byte> part(random_() % (bytes.size() - offset + 1));
    ASSERT_TRUE(reader->read(offset, part));
    EXPECT_TRUE(
        std::equal(part.begin(), part.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset)))
        << offset << " + " << part.size();
  }
  std::vector<std::byte> one(1);
  EXPECT_EQ(reader->read(bytes.size(), one).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(reader->read(UINT64_MAX, one).error().kind, ErrorKind::kUsage);
}

TEST_F(StoreHandleTest, ReaderKeepsTheStateThatItHasOpened) {
  const Store store = open();
  const std::vector<std::byte> before = memory();
  const std::vector<std::byte> after = memory();
  ASSERT_TRUE(store.ingest({.memory = before, .snapshot = "a"}));
  const auto reader = store.read("a");
  ASSERT_TRUE(reader);
  ASSERT_TRUE(store.ingest({.memory = after, .snapshot = "a", .replace = true}));
  ASSERT_TRUE(store.remove({.snapshots = {"a"}}));
  std::vector<std::byte> bytes(before.size());
  ASSERT_TRUE(reader->read(0, bytes));
  EXPECT_TRUE(bytes == before);
}

TEST_F(StoreHandleTest, WrongBlockIsCorrupt) {
  const Store store = open();
  ASSERT_TRUE(store.ingest({.memory = bytes_, .snapshot = "a"}));
  const auto info = store.inspect("a");
  ASSERT_TRUE(info);
  std::fstream layer(info->layers.at(0).file->path, std::ios::in | std::ios::out);
  layer.seekp(100);
  layer.put('\0');
  layer.close();
  std::vector<std::byte> bytes(kBytesOfBlock);
  const auto reader = store.read("a");
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->read(0, bytes).error().kind, ErrorKind::kCorrupt);
}

TEST_F(StoreHandleTest, OperationsTakeNamesInTheStore) {
  const Store store = open();
  const std::vector<std::byte> bytes = memory();
  ASSERT_TRUE(store.ingest({.memory = bytes, .snapshot = "base"}));
  // A full file with a parent: what differs is stored.
  std::vector<std::byte> changed = bytes;
  changed[0] ^= std::byte{1};
  ASSERT_TRUE(store.ingest(
      {.memory = changed, .snapshot = "next", .parent = "base", .kind = MemoryFileKind::kFull}));
  ASSERT_TRUE(store.fork({.snapshot = "next", .fork = "fork"}));
  const auto merged = store.merge({.snapshot = "next"});
  ASSERT_TRUE(merged) << merged.error().message;
  EXPECT_EQ(merged->layers_after, 1U);
  EXPECT_TRUE(store.compact({.snapshot = "fork", .policy = "full:cap=2"}));
  EXPECT_TRUE(store.verify({.snapshot = "next"})->is_intact());
  EXPECT_TRUE(store.repair("next"));
  const std::string out = (directory_ / "out").string();
  ASSERT_TRUE(store.materialize({.snapshot = "fork", .out = out}));
  EXPECT_EQ(fs::file_size(out), bytes.size());
  const auto exported = store.export_firecracker({.snapshot = "fork", .out = out + "-directory"});
  ASSERT_FALSE(exported);  // there is no VM state
  EXPECT_EQ(exported.error().kind, ErrorKind::kUnsupported);
  expect_memory(store, "next", changed);
  expect_memory(store, "fork", changed);
  expect_memory(store, store.path_of("base"), bytes);
  EXPECT_EQ(store.list()->snapshots.size(), 3U);
  EXPECT_TRUE(store.recover({}));
}

TEST_F(StoreHandleTest, StoreThatWasExchangedIsNeitherWrittenNorRead) {
  const Store store = open();
  fs::rename(store_path(), directory_ / "moved");
  const auto missing = store.ingest({.memory = bytes_, .snapshot = "a"});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().remedy, "open it again");
  fs::create_directory(store_path());
  Store other = open();
  ASSERT_TRUE(other.ingest({.memory = bytes_, .snapshot = "b"}));
  EXPECT_EQ(store.remove({.snapshots = {"b"}}).error().kind, ErrorKind::kFailed);
  EXPECT_EQ(store.read("b").error().kind, ErrorKind::kFailed);
  EXPECT_EQ(store.inspect("b").error().kind, ErrorKind::kFailed);
  EXPECT_EQ(store.list().error().kind, ErrorKind::kFailed);
  EXPECT_EQ(store.verify({.snapshot = "b"}).error().kind, ErrorKind::kFailed);
  EXPECT_EQ(store.recover({}).error().kind, ErrorKind::kFailed);
  EXPECT_EQ(other.list()->snapshots.size(), 1U);
}

TEST_F(StoreHandleTest, NameThatCannotBeASnapshotsIsRefusedBeforeAnythingIsDone) {
  const Store store = open();
  ASSERT_TRUE(store.ingest({.memory = bytes_, .snapshot = "a"}));
  for (const char* name : {"", ".", "..", ".vms", "a b"}) {
    EXPECT_EQ(store.ingest({.memory = bytes_, .snapshot = name}).error().kind, ErrorKind::kUsage);
    EXPECT_EQ(store.ingest({.memory = bytes_, .snapshot = "b", .parent = name}).error().kind,
              ErrorKind::kUsage);
    EXPECT_EQ(store.fork({.snapshot = "a", .fork = name}).error().kind, ErrorKind::kUsage);
    EXPECT_EQ(store.merge({.snapshot = "a", .out = name}).error().kind, ErrorKind::kUsage);
    EXPECT_EQ(store.remove({.snapshots = {"a", name}}).error().kind, ErrorKind::kUsage);
    EXPECT_EQ(store.read(name).error().kind, ErrorKind::kUsage);
  }
  EXPECT_EQ(store.list()->snapshots.size(), 1U);
  // The directory around the store has not become one.
  EXPECT_FALSE(fs::exists(directory_ / ".tmp"));
}

TEST_F(StoreHandleTest, MergeIntoANewSnapshotDependsOnNoBuild) {
  const Store store = open();
  ASSERT_TRUE(store.ingest({.memory = bytes_, .snapshot = "a"}));
  const auto build = store.inspect("a")->build_id;
  EXPECT_EQ(store.merge({.snapshot = "a", .out = "b", .only_build = build}).error().kind,
            ErrorKind::kUsage);
}

TEST_F(StoreHandleTest, AdoptionOfAFileWithTwoNamesIsUnsupported) {
  const Store store = open();
  const std::string path = write_file("memory", bytes_);
  fs::create_hard_link(path, directory_ / "other-name");
  const auto refused =
      store.ingest({.memory_file = path, .snapshot = "a", .layout = Layout::kAdopted});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported) << refused.error().message;
}

TEST_F(StoreHandleTest, FirstErrorOfARemovalIsFound) {
  const Store store = open();
  ASSERT_TRUE(store.ingest({.memory = bytes_, .snapshot = "a"}));
  const auto removed = store.remove({.snapshots = {"a", "none"}});
  ASSERT_TRUE(removed);
  ASSERT_NE(removed->first_error(), nullptr);
  EXPECT_EQ(removed->first_error()->kind, ErrorKind::kNotFound);
  EXPECT_EQ(RemoveReport().first_error(), nullptr);
}

/// Forks a child in the middle of an operation, as another thread of the program could. The child
/// lives as long as this object.
class ForkInTheMiddle : public Progress {
 public:
  ForkInTheMiddle() = default;
  ForkInTheMiddle(const ForkInTheMiddle&) = delete;
  ForkInTheMiddle& operator=(const ForkInTheMiddle&) = delete;
  ForkInTheMiddle(ForkInTheMiddle&&) = delete;
  ForkInTheMiddle& operator=(ForkInTheMiddle&&) = delete;
  ~ForkInTheMiddle() override {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }

  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {
    child_ = ::fork();
    while (child_ == 0) ::pause();
  }
  void advance(std::uint64_t /*bytes*/) override {}
  [[nodiscard]] bool interrupted() override { return false; }
  [[nodiscard]] bool has_forked() const { return child_ > 0; }

 private:
  pid_t child_ = -1;
};

TEST_F(StoreHandleTest, LockOfANameEndsWithItsOperationThoughAForkedChildLives) {
  const Store store = open();
  ForkInTheMiddle forking;
  ASSERT_TRUE(store.ingest({.memory = bytes_, .snapshot = "a", .progress = &forking}));
  ASSERT_TRUE(forking.has_forked());
  const auto again = store.ingest({.memory = bytes_, .snapshot = "a", .replace = true});
  EXPECT_TRUE(again) << again.error().message;
}

/// Looks at the signal mask of the thread that calls it.
class MaskSeen : public Progress {
 public:
  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {
    ::pthread_sigmask(SIG_BLOCK, nullptr, &mask_);
    thread_ = std::this_thread::get_id();
  }
  void advance(std::uint64_t /*bytes*/) override {}
  [[nodiscard]] bool interrupted() override { return false; }
  [[nodiscard]] bool blocks(int number) const { return sigismember(&mask_, number) == 1; }
  [[nodiscard]] std::thread::id thread() const { return thread_; }

 private:
  sigset_t mask_{};
  std::thread::id thread_;
};

TEST_F(StoreHandleTest, ThreadOfTheLibraryBlocksSignalsThatAreSent) {
  const Store store = open();
  ASSERT_TRUE(store.ingest({.memory = bytes_, .snapshot = "a"}));
  std::vector<std::byte> changed = bytes_;
  changed[0] ^= std::byte{1};
  ASSERT_TRUE(store.ingest(
      {.memory = changed, .snapshot = "b", .parent = "a", .kind = MemoryFileKind::kFull}));
  MaskSeen seen;
  ASSERT_TRUE(store.compact(
      {.snapshot = "b", .policy = "full:cap=2", .background = true, .progress = &seen}));
  ASSERT_NE(seen.thread(), std::thread::id());
  EXPECT_NE(seen.thread(), std::this_thread::get_id());
  EXPECT_TRUE(seen.blocks(SIGTERM));
  EXPECT_TRUE(seen.blocks(SIGCHLD));
  EXPECT_FALSE(seen.blocks(SIGSEGV));
  EXPECT_FALSE(seen.blocks(SIGPROF));
}

TEST_F(StoreHandleTest, ManyThreadsUseOneHandle) {
  constexpr int kThreads = 4;
  constexpr int kEach = 8;
  const Store store = open();
  const std::vector<std::byte> bytes = memory();
  {
    std::vector<std::jthread> threads;
    threads.reserve(kThreads);
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&store, &bytes, thread] {
        for (int i = 0; i < kEach; ++i) {
          const std::string name = std::to_string(thread) + "-" + std::to_string(i);
          const auto made = store.ingest({.memory = bytes, .snapshot = name});
          EXPECT_TRUE(made) << made.error().message;
          EXPECT_TRUE(made->notes.empty()) << made->notes.front();
        }
      });
    }
  }
  EXPECT_EQ(store.list()->snapshots.size(), std::size_t{kThreads} * kEach);
}

TEST_F(StoreHandleTest, SnapshotsWhoseRemovalWasNotBegunStayWhenAskedToStop) {
  const Store store = open();
  for (const char* name : {"a", "b"}) {
    ASSERT_TRUE(store.ingest({.memory = bytes_, .snapshot = name}));
  }
  lifecycle::StopAfter progress(1);
  const auto removed = store.remove({.snapshots = {"a", "b"}, .progress = &progress});
  ASSERT_TRUE(removed) << removed.error().message;
  ASSERT_EQ(removed->snapshots.size(), 2U);
  EXPECT_FALSE(removed->snapshots[0].error);
  ASSERT_TRUE(removed->snapshots[1].error);
  EXPECT_EQ(removed->snapshots[1].error->kind, ErrorKind::kInterrupted);
  EXPECT_FALSE(fs::exists(directory_ / "store/a"));
  expect_memory(store, "b", bytes_);
}

TEST_F(StoreHandleTest, ForkThatCopiesCanBeInterruptedAndLeavesNothing) {
  const Store store = open();
  ASSERT_TRUE(store.ingest({.memory = bytes_, .snapshot = "a"}));
  const tests::ScratchDirectory elsewhere("/dev/shm");
  struct stat here{};
  struct stat there{};
  ASSERT_EQ(::stat(directory_.c_str(), &here), 0);
  ASSERT_EQ(::stat(elsewhere.path().c_str(), &there), 0);
  if (here.st_dev == there.st_dev) GTEST_SKIP() << "there is no second file system";
  const std::string fork = elsewhere.file("store/fork");
  fs::create_directory(elsewhere.path() / "store");
  lifecycle::StopAfter progress(0);
  const auto interrupted = store.fork({.snapshot = "a", .fork = fork, .progress = &progress});
  ASSERT_FALSE(interrupted);
  EXPECT_EQ(interrupted.error().kind, ErrorKind::kInterrupted);
  EXPECT_FALSE(fs::exists(fork));
  EXPECT_TRUE(fs::is_empty(elsewhere.path() / "store/.tmp"));
  const auto forked = store.fork({.snapshot = "a", .fork = fork});
  EXPECT_TRUE(forked) << forked.error().message;
  EXPECT_EQ(forked->copied_layers, 1U);
}

}  // namespace
}  // namespace lamina
