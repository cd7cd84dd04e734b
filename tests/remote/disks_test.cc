// Attached files in a bucket: only what differs is sent, and every byte and hole comes back.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "object_store/blocking_store.h"
#include "packed/keys.h"
#include "packed/object_io.h"
#include "remote/manifest.h"
#include "remote/pull.h"
#include "remote/push.h"
#include "remote/remote_check.h"
#include "remote/removal.h"
#include "remote/requests.h"
#include "remote/sandboxes.h"
#include "remote/troubled_store.h"

namespace lamina::tests {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kBlock = 4096;

/// What a disk must contain. Blocks that are not there are holes.
struct DiskModel {
  std::uint64_t size_bytes = 0;
  std::map<std::uint64_t, std::string> blocks;

  [[nodiscard]] std::uint64_t block_count() const { return (size_bytes + kBlock - 1) / kBlock; }
  /// Bytes of a block that are inside the file.
  [[nodiscard]] std::uint64_t bytes_of(std::uint64_t block) const {
    return std::min(kBlock, size_bytes - block * kBlock);
  }
  void resize(std::uint64_t bytes) {
    size_bytes = bytes;
    blocks.erase(blocks.lower_bound(block_count()), blocks.end());
    for (auto& [number, text] : blocks) text.resize(bytes_of(number));
  }
};

void write_disk(const fs::path& path, const DiskModel& disk) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(disk.size_bytes)), 0);
  for (const auto& [number, text] : disk.blocks) {
    ASSERT_EQ(::pwrite(fd, text.data(), text.size(), static_cast<off_t>(number * kBlock)),
              static_cast<ssize_t>(text.size()));
  }
  ::fsync(fd);
  ::close(fd);
}

void expect_disk(const fs::path& path, const DiskModel& disk) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0) << path;
  struct stat facts{};
  ASSERT_EQ(::fstat(fd, &facts), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(facts.st_size), disk.size_bytes);
  const auto runs = packed::data_runs(fd, disk.size_bytes, path.string());
  ASSERT_TRUE(runs);
  std::vector<BlockRun> expected;
  std::string text(kBlock, 0);
  for (const auto& [number, wanted] : disk.blocks) {
    const auto block = static_cast<std::uint32_t>(number);
    if (!expected.empty() && expected.back().end() == block) {
      ++expected.back().count;
    } else {
      expected.push_back({block, 1});
    }
    const auto length = ::pread(fd, text.data(), kBlock, static_cast<off_t>(number * kBlock));
    EXPECT_EQ(static_cast<std::uint64_t>(length), wanted.size());
    EXPECT_TRUE(text.compare(0, wanted.size(), wanted) == 0) << path << ": block " << number;
  }
  EXPECT_TRUE(*runs == expected) << path << ": the holes differ";
  ::close(fd);
}

class RemoteDisks : public testing::Test {
 protected:
  std::uint64_t random(std::uint64_t below) { return sandboxes_.random()() % below; }

  /// Blocks that do not compress; sometimes written zeros.
  std::string random_block(const DiskModel& disk, std::uint64_t number) {
    std::string text(disk.bytes_of(number), 0);
    if (random(8) == 0) return text;
    for (char& c : text) c = static_cast<char>(sandboxes_.random()());
    return text;
  }
  DiskModel full_disk(std::uint64_t blocks) {
    DiskModel disk;
    disk.size_bytes = blocks * kBlock;
    for (std::uint64_t i = 0; i < blocks; ++i) {
      std::string text(kBlock, 0);
      for (std::size_t at = 0; at < kBlock; at += sizeof(std::uint64_t)) {
        const std::uint64_t number = sandboxes_.random()();
        text.replace(at, sizeof(number), reinterpret_cast<const char*>(&number), sizeof(number));
      }
      disk.blocks[i] = std::move(text);
    }
    return disk;
  }
  void write_blocks(DiskModel& disk, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count && disk.size_bytes > 0; ++i) {
      const std::uint64_t number = random(disk.block_count());
      disk.blocks[number] = random_block(disk, number);
    }
  }

  LocalSandbox pause(const std::string& store, const LocalSandbox* parent) {
    return sandboxes_.pause(store, parent, false);
  }
  Result<PushReport> push(const LocalSandbox& snapshot, const std::string& name = "web") {
    PushOptions options;
    options.snapshot = snapshot.path;
    options.name = name;
    return remote::push(*bucket_, options, tenant_.get());
  }
  Result<PullReport> pull(const std::string& store, const std::string& as,
                          const std::string& name = "web") {
    PullOptions options;
    options.name = name;
    options.store = store;
    options.as = as;
    return remote::pull(*bucket_, options, tenant_.get());
  }
  void expect_pulled(const std::map<std::string, DiskModel>& disks,
                     const std::string& name = "web") {
    const auto pulled = pull(sandboxes_.store("reader"), sandboxes_.fresh_name(), name);
    ASSERT_TRUE(pulled) << pulled.error().message;
    for (const auto& [file, disk] : disks) expect_disk(fs::path(pulled->snapshot) / file, disk);
    for (const auto& entry : fs::directory_iterator(pulled->snapshot)) {
      const std::string file = entry.path().filename().string();
      const bool is_expected = !file.starts_with("disk") || disks.contains(file);
      EXPECT_TRUE(is_expected) << file;
    }
  }
  /// An upper limit of what the VM state of a snapshot takes among the objects of files.
  static std::uint64_t vmstate_bytes(const LocalSandbox& snapshot) {
    const std::uint64_t bytes = snapshot.state.vmstate.size();
    return bytes > remote::kMaxInlineBytes ? bytes + 2 * kBlock : 0;
  }
  [[nodiscard]] std::uint64_t file_object_bytes() const {
    std::uint64_t bytes = 0;
    const fs::path files = fs::path(sandboxes_.bucket_directory()) / "v1/files";
    for (const auto& entry : fs::directory_iterator(files)) bytes += entry.file_size();
    return bytes;
  }
  [[nodiscard]] fs::path path_of_record(std::uint64_t number) const {
    return fs::path(sandboxes_.bucket_directory()) / remote::record_key({"web", number});
  }
  remote::Manifest manifest(std::uint64_t number) {
    std::ifstream file(path_of_record(number), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    auto decoded =
        remote::decode_manifest(std::as_bytes(std::span(text)), {"web", number}, tenant_.get());
    EXPECT_TRUE(decoded) << decoded.error().message;
    return std::move(*decoded);
  }
  void replace_manifest(std::uint64_t number, const remote::Manifest& changed) {
    const auto bytes = remote::encode_manifest(changed, tenant_.get());
    ASSERT_TRUE(bytes);
    fs::permissions(path_of_record(number), fs::perms::owner_write, fs::perm_options::add);
    std::ofstream(path_of_record(number), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes->data()),
               static_cast<std::streamsize>(bytes->size()));
  }
  static remote::ManifestFile& file_of(remote::Manifest& manifest, const std::string& name) {
    return *std::ranges::find(manifest.files, name, &remote::ManifestFile::name);
  }
  void use_key() {
    const std::string path = (sandboxes_.root() / "key").string();
    std::ofstream(path) << std::string(64, 'a');
    fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
    auto key = packed::read_key_file(path);
    ASSERT_TRUE(key) << key.error().message;
    tenant_ = std::move(*key);
  }

  Sandboxes sandboxes_{17};
  std::string here_ = sandboxes_.store("here");
  std::string there_ = sandboxes_.store("there");
  std::unique_ptr<object_store::ObjectStore> bucket_ = sandboxes_.open_bucket();
  std::unique_ptr<packed::KeyWrapper> tenant_;
};

class RemoteDiskEdits : public RemoteDisks, public testing::WithParamInterface<int> {
 protected:
  void edit_one_of(std::map<std::string, DiskModel>& disks) {
    DiskModel& disk = disks["disk" + std::to_string(random(2))];
    if (disk.size_bytes == 0 || random(5) == 0) disk.resize(random(600) * kBlock + random(5000));
    write_blocks(disk, random(4) == 0 ? random(400) : random(20));
    for (std::uint64_t i = random(10); i > 0; --i) disk.blocks.erase(random(600));
    if (random(10) == 0) disks.erase(disks.begin());
  }

  void expect_verified() {
    RemoteVerifyOptions options;
    options.data = true;
    const auto verified = remote::verify(*bucket_, options, tenant_.get());
    ASSERT_TRUE(verified) << verified.error().message;
    for (const std::string& problem : verified->problems) ADD_FAILURE() << problem;
  }
};

TEST_F(RemoteDisks, ThreePercentOfADiskSendThreePercent) {
  DiskModel disk = full_disk(4096);
  const LocalSandbox first = pause(here_, nullptr);
  write_disk(first.path + "/disk", disk);
  ASSERT_TRUE(push(first));
  const std::uint64_t whole = file_object_bytes();
  EXPECT_LT(whole, disk.size_bytes * 102 / 100 + vmstate_bytes(first));
  for (std::uint64_t i = 0; i < 4096 * 3 / 100; ++i) {
    disk.blocks[random(4096)] = random_block(disk, 0);
  }
  const LocalSandbox second = pause(here_, &first);
  write_disk(second.path + "/disk", disk);
  const auto pushed = push(second);
  ASSERT_TRUE(pushed) << pushed.error().message;
  EXPECT_EQ(pushed->number, 2U);
  const std::uint64_t sent = file_object_bytes() - whole;
  EXPECT_GT(sent, disk.size_bytes * 2 / 100);
  EXPECT_LT(sent, disk.size_bytes * 33 / 1000 + vmstate_bytes(second));
  expect_pulled({{"disk", disk}});
  // A disk that did not change sends nothing.
  const LocalSandbox third = pause(here_, &second);
  write_disk(third.path + "/disk", disk);
  const std::uint64_t before = file_object_bytes();
  ASSERT_TRUE(push(third));
  EXPECT_LE(file_object_bytes(), before + vmstate_bytes(third));
  expect_pulled({{"disk", disk}});
}

TEST_F(RemoteDisks, PartsAreFewAndDeadBlocksToo) {
  DiskModel disk = full_disk(512);
  LocalSandbox last = pause(here_, nullptr);
  write_disk(last.path + "/disk", disk);
  ASSERT_TRUE(push(last));
  for (std::uint64_t number = 2; number < 40; ++number) {
    const std::uint64_t start = random(500);
    for (std::uint64_t i = 0; i < 12; ++i) disk.blocks[start + i] = random_block(disk, 0);
    last = pause(here_, &last);
    write_disk(last.path + "/disk", disk);
    ASSERT_TRUE(push(last));
    remote::Manifest newest = manifest(number);
    const remote::PartedFile& file = file_of(newest, "disk").parted;
    EXPECT_LE(file.parts.size(), 8U);
    std::uint64_t stored = 0;
    for (const remote::FilePart& part : file.parts) stored += part.data_blocks;
    EXPECT_LE(stored, 2 * 512U);
  }
  expect_pulled({{"disk", disk}});
  PruneOptions options;
  options.keep_last = 1;
  ASSERT_TRUE(remote::prune(*bucket_, options));
  EXPECT_LT(file_object_bytes(), 2 * disk.size_bytes + disk.size_bytes / 5 + vmstate_bytes(last));
  expect_pulled({{"disk", disk}});
}

TEST_F(RemoteDisks, ShrunkGrownRenamedAndRemovedFilesComeBackAsTheyAre) {
  DiskModel disk = full_disk(128);
  const LocalSandbox first = pause(here_, nullptr);
  write_disk(first.path + "/disk", disk);
  write_disk(first.path + "/disk-2", disk);
  ASSERT_TRUE(push(first));
  DiskModel shrunk = disk;
  shrunk.resize(77 * kBlock + 100);
  DiskModel grown = disk;
  grown.resize(200 * kBlock + 1);
  grown.blocks[150] = random_block(grown, 150);
  const LocalSandbox second = pause(here_, &first);
  write_disk(second.path + "/disk", shrunk);
  write_disk(second.path + "/disk-2", grown);
  std::uint64_t before = file_object_bytes();
  ASSERT_TRUE(push(second));
  EXPECT_LT(file_object_bytes() - before, 20 * kBlock + vmstate_bytes(second));
  expect_pulled({{"disk", shrunk}, {"disk-2", grown}});
  // "disk" is removed, and the other one has another name and another block.
  grown.blocks[3] = random_block(grown, 3);
  const LocalSandbox third = pause(here_, &second);
  write_disk(third.path + "/disk-3", grown);
  before = file_object_bytes();
  ASSERT_TRUE(push(third));
  EXPECT_LT(file_object_bytes() - before, 20 * kBlock + vmstate_bytes(third));
  expect_pulled({{"disk-3", grown}});
  // Nothing but holes.
  DiskModel empty;
  empty.size_bytes = std::uint64_t{3} << 30;
  const LocalSandbox fourth = pause(here_, &third);
  write_disk(fourth.path + "/disk-3", empty);
  ASSERT_TRUE(push(fourth));
  expect_pulled({{"disk-3", empty}});
  const LocalSandbox fifth = pause(here_, &fourth);
  empty.blocks[700'000] = random_block(empty, 700'000);
  write_disk(fifth.path + "/disk-3", empty);
  fs::create_hard_link(fifth.path + "/disk-3", fifth.path + "/disk-4");
  ASSERT_TRUE(push(fifth));
  expect_pulled({{"disk-3", empty}, {"disk-4", empty}});
}

TEST_F(RemoteDisks, ClonesOfATemplateSendWhatDiffersFromIt) {
  DiskModel disk = full_disk(256);
  const LocalSandbox base = pause(here_, nullptr);
  write_disk(base.path + "/disk", disk);
  ASSERT_TRUE(push(base, "template"));
  ASSERT_TRUE(pull(there_, "template", "template"));
  for (const std::string& store : {here_, there_}) {
    LocalSandbox known = base;
    known.path =
        store + "/" + (store == here_ ? fs::path(base.path).filename().string() : "template");
    const LocalSandbox clone = pause(store, &known);
    disk.blocks[9] = random_block(disk, 9);
    write_disk(clone.path + "/disk", disk);
    const std::uint64_t before = file_object_bytes();
    const std::string name = store == here_ ? "one" : "two";
    ASSERT_TRUE(push(clone, name));
    EXPECT_LT(file_object_bytes() - before, 6 * kBlock + vmstate_bytes(clone));
    expect_pulled({{"disk", disk}}, name);
  }
}

TEST_F(RemoteDisks, FileThatChangesDuringAPushIsRefused) {
  DiskModel disk = full_disk(64);
  const LocalSandbox first = pause(here_, nullptr);
  write_disk(first.path + "/disk", disk);
  TroubledStore store(
      sandboxes_.open_bucket(), [&](std::uint64_t, const object_store::Request& request) {
        if (request.key.starts_with(remote::kPinsPrefix)) {
          std::fstream file(first.path + "/disk", std::ios::binary | std::ios::in | std::ios::out);
          file.seekp(40 * kBlock);
          file << "x";
        }
        return Trouble::kNone;
      });
  PushOptions options;
  options.snapshot = first.path;
  options.name = "web";
  const auto refused = remote::push(store, options, nullptr);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kBusy) << refused.error().message;
  EXPECT_EQ(pull(there_, "none").error().kind, ErrorKind::kNotFound);
  disk.blocks[40].replace(0, 1, "x");
  ASSERT_TRUE(push(first));
  expect_pulled({{"disk", disk}});
  sandboxes_.expect_nothing_left_over();
}

TEST_F(RemoteDisks, PartWithATombstoneIsSentAgain) {
  DiskModel disk = full_disk(128);
  const LocalSandbox first = pause(here_, nullptr);
  write_disk(first.path + "/disk", disk);
  ASSERT_TRUE(push(first));
  remote::Manifest pushed = manifest(1);
  const auto& part = file_of(pushed, "disk").parted.parts.front();
  const std::string key = pushed.reference_of(part.object).key;
  const std::string text = "t";
  ASSERT_TRUE(object_store::BlockingStore(*bucket_)
                  .put(remote::tombstone_key(key, Uuid::random()), std::as_bytes(std::span(text)))
                  .ok());
  disk.blocks[5] = random_block(disk, 5);
  const LocalSandbox second = pause(here_, &first);
  write_disk(second.path + "/disk", disk);
  ASSERT_TRUE(push(second));
  for (const remote::Reference& reference : manifest(2).record.references) {
    EXPECT_NE(reference.key, key);
  }
  fs::remove(fs::path(sandboxes_.bucket_directory()) / key);
  expect_pulled({{"disk", disk}});
}

TEST_F(RemoteDisks, DamagedDigestsOfAPartMakeAWholePush) {
  DiskModel disk = full_disk(300);
  const LocalSandbox first = pause(here_, nullptr);
  write_disk(first.path + "/disk", disk);
  ASSERT_TRUE(push(first));
  remote::Manifest pushed = manifest(1);
  const auto& reference = pushed.reference_of(file_of(pushed, "disk").parted.parts.front().object);
  const fs::path object = fs::path(sandboxes_.bucket_directory()) / reference.key;
  fs::permissions(object, fs::perms::owner_write, fs::perm_options::add);
  std::fstream file(object, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(301 * kBlock + 301 * 8 + 10));
  file << "damage";
  file.close();
  RemoteVerifyOptions verify_options;
  verify_options.data = true;
  const auto verified = remote::verify(*bucket_, verify_options, nullptr);
  ASSERT_TRUE(verified);
  EXPECT_FALSE(verified->is_intact());
  const LocalSandbox second = pause(here_, &first);
  write_disk(second.path + "/disk", disk);
  ASSERT_TRUE(push(second));
  EXPECT_EQ(file_of(pushed = manifest(2), "disk").parted.parts.size(), 1U);
  expect_pulled({{"disk", disk}});
}

TEST_F(RemoteDisks, ManifestsThatLieAboutPartsAreFound) {
  DiskModel disk = full_disk(128);
  const LocalSandbox first = pause(here_, nullptr);
  write_disk(first.path + "/disk", disk);
  ASSERT_TRUE(push(first));
  for (std::uint64_t i = 10; i < 20; ++i) disk.blocks[i] = random_block(disk, i);
  const LocalSandbox second = pause(here_, &first);
  write_disk(second.path + "/disk", disk);
  ASSERT_TRUE(push(second));
  const remote::Manifest right = manifest(2);
  const auto expect_corrupt = [&](const std::function<void(remote::ManifestFile&)>& change) {
    remote::Manifest wrong = right;
    change(file_of(wrong, "disk"));
    replace_manifest(2, wrong);
    const auto pulled = pull(there_, sandboxes_.fresh_name());
    ASSERT_FALSE(pulled);
    EXPECT_EQ(pulled.error().kind, ErrorKind::kCorrupt) << pulled.error().message;
    EXPECT_NE(pulled.error().message.find("disk"), std::string::npos) << pulled.error().message;
  };
  // Blocks of the state before.
  expect_corrupt([](auto& file) { file.parted.map = {{{0, 128}, 0}}; });
  expect_corrupt([](auto& file) { file.parted.map = {{{0, 128}, 1}}; });
  expect_corrupt([](auto& file) { file.parted.map.pop_back(); });
  expect_corrupt([](auto& file) { ++file.parted.parts[0].data_blocks; });
  expect_corrupt([](auto& file) { file.parted.parts[0].data_blocks = 0xffff'ffff; });
  expect_corrupt([](auto& file) { std::swap(file.parted.parts[0], file.parted.parts[1]); });
  expect_corrupt([](auto& file) { file.parted.parts.pop_back(); });
  expect_corrupt([](auto& file) { file.parted.map.clear(); });
  expect_corrupt([](auto& file) { file.contents.size_bytes = 128 * kBlock - 1; });
  expect_corrupt([](auto& file) { file.contents.digest[0] ^= 1; });
  replace_manifest(2, right);
  expect_pulled({{"disk", disk}});
}

/// Random edits of disks on two hosts, which push and pull one name, with prunes between.
TEST_P(RemoteDiskEdits, RandomEditsComeBack) {
  const char* fixed = std::getenv("LAMINA_SEED");
  const auto seed =
      fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : static_cast<std::uint64_t>(GetParam());
  SCOPED_TRACE("LAMINA_SEED=" + std::to_string(seed));
  sandboxes_.random().seed(seed);
  if (seed % 2 == 1) use_key();
  std::map<std::string, DiskModel> disks;
  std::string store = here_;
  LocalSandbox last = pause(store, nullptr);
  for (int step = 0; step < 14 && !HasFatalFailure(); ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    edit_one_of(disks);
    if (step > 0) last = pause(store, &last);
    for (const auto& [name, model] : disks) write_disk(last.path + "/" + name, model);
    if (random(4) == 0) continue;  // a state that is not pushed
    const auto pushed = push(last);
    ASSERT_TRUE(pushed) << pushed.error().message;
    ASSERT_FALSE(pushed->is_conflict);
    PruneOptions prune;
    prune.keep_last = 1 + random(2);
    if (random(3) == 0) {
      ASSERT_TRUE(remote::prune(*bucket_, prune));
    }
    if (random(3) == 0) expect_pulled(disks);
    if (random(2) == 0) continue;
    store = store == here_ ? there_ : here_;  // the sandbox moves to the other host
    const auto pulled = pull(store, sandboxes_.fresh_name());
    ASSERT_TRUE(pulled) << pulled.error().message;
    last.path = pulled->snapshot;
  }
  last = pause(store, &last);
  for (const auto& [name, model] : disks) write_disk(last.path + "/" + name, model);
  ASSERT_TRUE(push(last));
  sandboxes_.expect_nothing_left_over(1);
  expect_pulled(disks);
  expect_verified();
}

INSTANTIATE_TEST_SUITE_P(Seeds, RemoteDiskEdits, testing::Range(1, 9));

}  // namespace
}  // namespace lamina::tests
