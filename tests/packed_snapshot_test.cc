// Snapshots through pack and unpack, by the public interface: random chains with attached files;
// and every damage that one byte of a packed snapshot can have.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "lamina/fork.h"
#include "lamina/ingest.h"
#include "lamina/merge.h"
#include "lamina/pack.h"
#include "lamina/progress.h"
#include "lamina/snapshot.h"
#include "lamina/store.h"
#include "lamina/verify.h"
#include "scratch_directory.h"

namespace lamina {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPageBytes = 4096;

std::string read_all(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_all(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// A file of a snapshot, with all that packing keeps.
struct KeptFile {
  std::string contents;
  mode_t mode = 0;
  std::set<std::string> links;  ///< names of the same file

  bool operator==(const KeptFile&) const = default;
};

/// The files of a snapshot's directory. Of a layer, the trailer is in the contents too.
std::map<std::string, KeptFile> files_of(const fs::path& snapshot) {
  std::map<std::string, KeptFile> files;
  std::map<ino_t, std::set<std::string>> names;
  for (const auto& entry : fs::directory_iterator(snapshot)) {
    struct stat status{};
    EXPECT_EQ(::stat(entry.path().c_str(), &status), 0);
    const std::string name = entry.path().filename();
    // Layers are links to other snapshots' too; only names in this directory count.
    names[status.st_ino].insert(name);
    files[name] = {read_all(entry.path()), status.st_mode & 0777U, {}};
    // These belong to the store, whatever mode they had.
    if (name == "memfile.header" || name == "snapshot.json") files[name].mode = 0600;
  }
  for (const auto& [inode, group] : names) {
    for (const std::string& name : group) files[name].links = group;
  }
  return files;
}

/// On tmpfs, if there is one: thousands of files are unpacked and synced, and none has to outlive
/// the machine.
fs::path above_packed() {
  constexpr const char* kMemory = "/dev/shm";
  const char* given = ::getenv("LAMINA_TEST_DIR");
  if (given != nullptr) return given;
  return ::access(kMemory, W_OK) == 0 ? fs::path(kMemory) : fs::temp_directory_path();
}

class PackedSnapshotTest : public testing::Test {
 protected:
  PackedSnapshotTest() {
    fs::create_directory(scratch_.file("store"));
    fs::create_directory(scratch_.file("other"));
    write_all(scratch_.file("key"), std::string(64, 'a'));
    ::chmod(scratch_.file("key").c_str(), 0600);
  }

  [[nodiscard]] std::string stored(const std::string& name) const {
    return scratch_.file("store") + "/" + name;
  }

  /// Ingests `memory` as a full memory file, or the pages of it in `pages` as a diff.
  void ingest_memory(const std::string& memory, const std::string& name,
                     const std::string& parent = {}, const std::set<std::size_t>& pages = {}) {
    const std::string path = scratch_.file("memory");
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(memory.size())), 0);
    for (std::size_t page = 0; page * kPageBytes < memory.size(); ++page) {
      if (!parent.empty() && !pages.contains(page)) continue;
      const std::size_t offset = page * kPageBytes;
      const std::size_t length = std::min(kPageBytes, memory.size() - offset);
      ASSERT_EQ(::pwrite(fd, &memory[offset], length, static_cast<off_t>(offset)),
                static_cast<ssize_t>(length));
    }
    ::close(fd);
    write_all(scratch_.file("state"), "registers of " + name);
    IngestOptions options;
    options.memory_file = path;
    options.vmstate_file = scratch_.file("state");
    options.snapshot = stored(name);
    options.zeros = Zeros::kWritten;
    if (!parent.empty()) options.parent = stored(parent);
    if (random_() % 2 == 0) options.layout = Layout::kAdopted;
    const auto report = ingest(options);
    ASSERT_TRUE(report) << report.error().message;
  }

  [[nodiscard]] PackOptions pack_options(const std::string& name, const std::string& out) const {
    PackOptions options;
    options.snapshot = stored(name);
    options.out = scratch_.file(out);
    return options;
  }

  [[nodiscard]] UnpackOptions unpack_options(const std::string& file) const {
    UnpackOptions options;
    options.file = scratch_.file(file);
    options.snapshot = scratch_.file("other/vm");
    return options;
  }

  void expect_memory(const std::string& snapshot, const std::string& memory) {
    const auto reader = SnapshotReader::open(snapshot);
    ASSERT_TRUE(reader) << reader.error().message;
    std::string found(memory.size(), 'x');
    const Status read = reader->read(0, std::as_writable_bytes(std::span(found)));
    ASSERT_TRUE(read) << read.error().message;
    for (std::size_t i = 0; i < memory.size(); ++i) {
      ASSERT_EQ(found[i], memory[i]) << "page " << i / kPageBytes;
    }
    const auto verified = verify({.snapshot = snapshot, .against = {}, .progress = nullptr});
    ASSERT_TRUE(verified) << verified.error().message;
    ASSERT_TRUE(verified->is_intact());
  }

  /// Nothing is in the other store but its own directories.
  void expect_no_snapshot() {
    for (const auto& entry : fs::directory_iterator(scratch_.file("other"))) {
      EXPECT_TRUE(entry.path().filename().string().starts_with('.')) << entry.path();
    }
    if (!fs::exists(scratch_.file("other/.tmp"))) return;
    EXPECT_TRUE(fs::is_empty(scratch_.file("other/.tmp")));
  }

  tests::ScratchDirectory scratch_{above_packed()};
  std::mt19937_64 random_;
};

class RandomChains : public PackedSnapshotTest, public testing::WithParamInterface<int> {
 protected:
  void fill_page(std::string& memory, std::size_t page) {
    const std::size_t offset = page * kPageBytes;
    const std::size_t length = std::min(kPageBytes, memory.size() - offset);
    const auto kind = random_() % 4;
    for (std::size_t i = 0; i < length; ++i) {
      const auto value = kind == 0 ? 0 : kind == 1 ? random_() : random_() % 3;
      memory[offset + i] = static_cast<char>(value);
    }
  }

  /// Attaches a sparse file, a read-only one, an empty one, and further links to one.
  void attach_files(const fs::path& snapshot) {
    const std::string disk = snapshot / "disk.img";
    const int fd = ::open(disk.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::ftruncate(fd, (4 << 20) + 123), 0);
    for (auto left = random_() % 5; left > 0; --left) {
      std::string data(1 + random_() % 20000, 'd');
      const auto offset = static_cast<off_t>(random_() % (4 << 20));
      ASSERT_GT(::pwrite(fd, data.data(), data.size(), offset), 0);
    }
    ::fsync(fd);
    ::close(fd);
    write_all(snapshot / "empty", "");
    write_all(snapshot / "read-only", "never written again");
    ::chmod((snapshot / "read-only").c_str(), 0444);
    fs::create_hard_link(snapshot / "disk.img", snapshot / "a-link");
    fs::create_hard_link(snapshot / "disk.img", snapshot / "z-link");
  }
};

std::uint64_t allocated_bytes(const fs::path& path) {
  struct stat status{};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

TEST_P(RandomChains, AreTheSameAfterPackAndUnpack) {
  const char* fixed = std::getenv("LAMINA_SEED");
  const std::uint64_t seed =
      fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : static_cast<std::uint64_t>(GetParam());
  SCOPED_TRACE("LAMINA_SEED=" + std::to_string(seed));
  random_.seed(seed);
  std::string memory(1 + random_() % (150 * kPageBytes), '\0');
  const std::size_t pages = (memory.size() + kPageBytes - 1) / kPageBytes;
  for (std::size_t page = 0; page < pages; ++page) {
    if (random_() % 2 == 0) fill_page(memory, page);
  }
  ASSERT_NO_FATAL_FAILURE(ingest_memory(memory, "vm-0"));
  std::string name = "vm-0";
  for (auto left = random_() % 5; left > 0; --left) {
    std::set<std::size_t> dirty;
    for (auto count = random_() % pages; count > 0; --count) dirty.insert(random_() % pages);
    for (const std::size_t page : dirty) fill_page(memory, page);
    const std::string next = name + "-d";
    ASSERT_NO_FATAL_FAILURE(ingest_memory(memory, next, name, dirty));
    name = next;
  }
  ASSERT_NO_FATAL_FAILURE(attach_files(stored(name)));

  PackOptions packing = pack_options(name, "packed");
  packing.codec = kWords<PackCodec>[random_() % 3].value;
  packing.frame_blocks = random_() % 2 == 0 ? 16 : 32;
  UnpackOptions unpacking = unpack_options("packed");
  if (random_() % 2 == 0) packing.key_file = unpacking.key_file = scratch_.file("key");
  const auto packed = pack_snapshot(packing);
  ASSERT_TRUE(packed) << packed.error().message;
  EXPECT_EQ(packed->packed_bytes, fs::file_size(packing.out));
  const auto unpacked = unpack_snapshot(unpacking);
  ASSERT_TRUE(unpacked) << unpacked.error().message;
  EXPECT_EQ(unpacked->pause_id, packed->pause_id);
  EXPECT_EQ(unpacked->layers, packed->layers);
  EXPECT_EQ(unpacked->files, packed->files);
  EXPECT_EQ(unpacked->data_bytes, packed->data_bytes);

  ASSERT_NO_FATAL_FAILURE(expect_memory(unpacking.snapshot, memory));
  const auto before = files_of(stored(name));
  const auto after = files_of(unpacking.snapshot);
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [file, kept] : before) {
    ASSERT_TRUE(after.contains(file)) << file;
    EXPECT_EQ(after.at(file).mode, kept.mode) << file;
    EXPECT_EQ(after.at(file).links, kept.links) << file;
    // The places of an adopted layer that its trailer does not list are not kept.
    const bool is_layer = file.starts_with("memfile.") && file != "memfile.header";
    EXPECT_EQ(after.at(file).contents.size(), kept.contents.size()) << file;
    EXPECT_TRUE(is_layer || after.at(file).contents == kept.contents) << file;
  }
  EXPECT_LE(allocated_bytes(fs::path(unpacking.snapshot) / "disk.img"),
            allocated_bytes(fs::path(stored(name)) / "disk.img"));
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomChains, testing::Range(1, 21));

class SmallPackedSnapshot : public PackedSnapshotTest, public testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    memory_ = std::string(3 * kPageBytes, 'a') + std::string(kPageBytes, '\0');
    ASSERT_NO_FATAL_FAILURE(ingest_memory(memory_, "base"));
    memory_[0] = 'b';
    ASSERT_NO_FATAL_FAILURE(ingest_memory(memory_, "vm", "base", {0}));
    write_all(stored("vm/attached"), "attached");
    fs::create_hard_link(stored("vm/attached"), stored("vm/linked"));
    PackOptions options = pack_options("vm", "packed");
    if (GetParam()) options.key_file = scratch_.file("key");
    const auto packed = pack_snapshot(options);
    ASSERT_TRUE(packed) << packed.error().message;
    bytes_ = read_all(scratch_.file("packed"));
  }

  [[nodiscard]] Result<UnpackReport> unpack() const {
    UnpackOptions options = unpack_options("packed");
    if (GetParam()) options.key_file = scratch_.file("key");
    return unpack_snapshot(options);
  }

  std::string memory_;
  std::string bytes_;
};

TEST_P(SmallPackedSnapshot, IsUnpacked) {
  const auto unpacked = unpack();
  ASSERT_TRUE(unpacked) << unpacked.error().message;
  EXPECT_EQ(unpacked->generation, 1);
  expect_memory(unpacked->snapshot, memory_);
}

TEST_P(SmallPackedSnapshot, EveryFlippedByteIsFound) {
  for (std::size_t i = 0; i < bytes_.size(); ++i) {
    std::string damaged = bytes_;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
    write_all(scratch_.file("packed"), damaged);
    const auto unpacked = unpack();
    ASSERT_FALSE(unpacked) << "byte " << i << " of " << bytes_.size();
    EXPECT_EQ(unpacked.error().kind, ErrorKind::kCorrupt) << unpacked.error().message;
  }
  expect_no_snapshot();
}

TEST_P(SmallPackedSnapshot, EveryTruncationIsFound) {
  for (std::size_t length = 0; length < bytes_.size(); ++length) {
    write_all(scratch_.file("packed"), bytes_.substr(0, length));
    const auto unpacked = unpack();
    ASSERT_FALSE(unpacked) << length;
    EXPECT_EQ(unpacked.error().kind, ErrorKind::kCorrupt) << unpacked.error().message;
  }
  expect_no_snapshot();
}

INSTANTIATE_TEST_SUITE_P(Keys, SmallPackedSnapshot, testing::Bool());

/// Asks to stop once it has been asked `asked` times.
class StopAfterAsked : public Progress {
 public:
  explicit StopAfterAsked(int asked) : left_(asked) {}
  void begin(std::string_view /*phase*/, std::uint64_t total_bytes) override {
    total_bytes_ = total_bytes;
  }
  void advance(std::uint64_t bytes) override { done_bytes_ += bytes; }
  [[nodiscard]] bool interrupted() override { return left_-- <= 0; }

  std::uint64_t total_bytes_ = 0;
  std::uint64_t done_bytes_ = 0;

 private:
  int left_;
};

TEST_F(PackedSnapshotTest, AnInterruptionLeavesNothing) {
  std::string memory(200 * kPageBytes, 'm');
  ASSERT_NO_FATAL_FAILURE(ingest_memory(memory, "vm"));
  const PackOptions packing = pack_options("vm", "packed");
  ASSERT_TRUE(pack_snapshot(packing));
  int stopped = 0;
  for (int asked = 0;; ++asked) {
    StopAfterAsked progress(asked);
    UnpackOptions options = unpack_options("packed");
    options.progress = &progress;
    const auto unpacked = unpack_snapshot(options);
    if (unpacked) {
      EXPECT_EQ(progress.done_bytes_, progress.total_bytes_);
      break;
    }
    ASSERT_EQ(unpacked.error().kind, ErrorKind::kInterrupted) << unpacked.error().message;
    expect_no_snapshot();
    ++stopped;
  }
  EXPECT_GT(stopped, 3);
  for (int asked = 0; asked < stopped; ++asked) {
    StopAfterAsked progress(asked);
    PackOptions options = pack_options("vm", "again");
    options.progress = &progress;
    const auto packed = pack_snapshot(options);
    ASSERT_FALSE(packed);
    EXPECT_EQ(packed.error().kind, ErrorKind::kInterrupted);
    EXPECT_FALSE(fs::exists(options.out));
  }
}

TEST_F(PackedSnapshotTest, AnExistingFileOrNameIsRefused) {
  ASSERT_NO_FATAL_FAILURE(ingest_memory(std::string(kPageBytes, 'm'), "vm"));
  const PackOptions packing = pack_options("vm", "packed");
  ASSERT_TRUE(pack_snapshot(packing));
  const auto again = pack_snapshot(packing);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kExists);
  ASSERT_TRUE(unpack_snapshot(unpack_options("packed")));
  const auto twice = unpack_snapshot(unpack_options("packed"));
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().kind, ErrorKind::kExists);
}

TEST_F(PackedSnapshotTest, TheKeyMustBeTheOneThatItIsFor) {
  ASSERT_NO_FATAL_FAILURE(ingest_memory(std::string(kPageBytes, 'm'), "vm"));
  PackOptions packing = pack_options("vm", "sealed");
  packing.key_file = scratch_.file("key");
  ASSERT_TRUE(pack_snapshot(packing));
  ASSERT_TRUE(pack_snapshot(pack_options("vm", "plain")));
  write_all(scratch_.file("wrong"), std::string(64, 'b'));
  ::chmod(scratch_.file("wrong").c_str(), 0600);
  const auto kind_of = [&](const char* file, const char* key, const char* command) {
    UnpackOptions options = unpack_options(file);
    if (key != nullptr) options.key_file = scratch_.file(key);
    if (command != nullptr) options.key_command = command;
    const auto unpacked = unpack_snapshot(options);
    EXPECT_FALSE(unpacked);
    return unpacked.error().kind;
  };
  EXPECT_EQ(kind_of("sealed", nullptr, nullptr), ErrorKind::kUsage);
  EXPECT_EQ(kind_of("sealed", "wrong", nullptr), ErrorKind::kPermission);
  EXPECT_EQ(kind_of("sealed", nullptr, "cat"), ErrorKind::kPermission);
  EXPECT_EQ(kind_of("sealed", "key", "cat"), ErrorKind::kUsage);
  EXPECT_EQ(kind_of("plain", "key", nullptr), ErrorKind::kUsage);
  EXPECT_EQ(kind_of("sealed", "missing", nullptr), ErrorKind::kNotFound);
  expect_no_snapshot();
}

TEST_F(PackedSnapshotTest, ADamagedSnapshotIsNotPacked) {
  ASSERT_NO_FATAL_FAILURE(ingest_memory(std::string(40 * kPageBytes, 'm'), "vm"));
  for (const auto& entry : fs::directory_iterator(stored("vm"))) {
    const std::string name = entry.path().filename();
    if (name != "snapfile" && (!name.starts_with("memfile.") || name == "memfile.header")) continue;
    const std::string whole = read_all(entry.path());
    std::string damaged = whole;
    damaged[3] ^= 1;
    write_all(entry.path(), damaged);
    const auto packed = pack_snapshot(pack_options("vm", "packed"));
    ASSERT_FALSE(packed) << name;
    EXPECT_EQ(packed.error().kind, ErrorKind::kCorrupt) << packed.error().message;
    EXPECT_NE(packed.error().message.find(name), std::string::npos) << packed.error().message;
    EXPECT_FALSE(fs::exists(scratch_.file("packed")));
    write_all(entry.path(), whole);
  }
}

TEST_F(PackedSnapshotTest, AStoresMethodsTakeNamesInIt) {
  ASSERT_NO_FATAL_FAILURE(ingest_memory(std::string(kPageBytes, 'm'), "vm"));
  const auto store = Store::open(scratch_.file("store"));
  ASSERT_TRUE(store);
  PackOptions packing = pack_options("vm", "packed");
  packing.snapshot = "vm";
  ASSERT_TRUE(store->pack(packing));
  UnpackOptions unpacking = unpack_options("packed");
  unpacking.snapshot = "copy";
  const auto unpacked = store->unpack(unpacking);
  ASSERT_TRUE(unpacked) << unpacked.error().message;
  EXPECT_EQ(unpacked->snapshot, stored("copy"));
}

TEST_F(PackedSnapshotTest, ADirectoryInASnapshotIsRefused) {
  ASSERT_NO_FATAL_FAILURE(ingest_memory(std::string(kPageBytes, 'm'), "vm"));
  fs::create_directory(stored("vm/directory"));
  const auto packed = pack_snapshot(pack_options("vm", "packed"));
  ASSERT_FALSE(packed);
  EXPECT_NE(packed.error().message.find("only files can"), std::string::npos);
}

}  // namespace
}  // namespace lamina
