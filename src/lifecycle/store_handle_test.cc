#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "lamina/store.h"

namespace lamina {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMemoryBlocks = 64;
constexpr std::size_t kBytesOfBlock = 4096;

class StoreHandleTest : public testing::Test {
 protected:
  StoreHandleTest() {
    std::string name = (fs::temp_directory_path() / "lamina-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
    fs::create_directory(directory_ / "store");
  }
  ~StoreHandleTest() override { fs::remove_all(directory_); }
  StoreHandleTest(const StoreHandleTest&) = delete;
  StoreHandleTest& operator=(const StoreHandleTest&) = delete;
  StoreHandleTest(StoreHandleTest&&) = delete;
  StoreHandleTest& operator=(StoreHandleTest&&) = delete;

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

  fs::path directory_;
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
  expect_memory(store, "next", changed);
  expect_memory(store, "fork", changed);
  expect_memory(store, store.path_of("base"), bytes);
  EXPECT_EQ(store.list()->snapshots.size(), 3U);
  EXPECT_TRUE(store.recover({}));
}

TEST_F(StoreHandleTest, StoreThatWasExchangedIsNotWritten) {
  const Store store = open();
  fs::rename(store_path(), directory_ / "moved");
  const auto missing = store.ingest({.memory = bytes_, .snapshot = "a"});
  ASSERT_FALSE(missing);
  fs::create_directory(store_path());
  Store other = open();
  ASSERT_TRUE(other.ingest({.memory = bytes_, .snapshot = "b"}));
  const auto exchanged = store.remove({.snapshots = {"b"}});
  ASSERT_TRUE(exchanged);
  ASSERT_TRUE(exchanged->snapshots.at(0).error);
  EXPECT_NE(exchanged->snapshots.at(0).error->message.find("open it again"), std::string::npos);
  EXPECT_EQ(other.list()->snapshots.size(), 1U);
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

}  // namespace
}  // namespace lamina
