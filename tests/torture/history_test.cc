// The model itself: what it says that a power failure may leave, and what not.
#include "history.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>
#include <string>

namespace lamina::torture {
namespace {

/// Does things to a disk, and keeps the record.
class Recorder {
 public:
  Recorder() { history_.before = disk_; }

  InodeNumber make(InodeNumber parent, const std::string& name, mode_t type = S_IFREG) {
    const InodeNumber inode = next_++;
    add("make " + name,
        {inode_change(inode, type | 0600U, 0, 0), entry_change({{parent, name, inode}})});
    return inode;
  }
  void write(InodeNumber file, std::uint64_t offset, const std::string& bytes) {
    add("write", write_changes(disk_, file, offset, bytes));
  }
  void cut(InodeNumber file, std::uint64_t size) {
    add("truncate", size_changes(disk_, file, size));
  }
  void punch(InodeNumber file, std::uint64_t offset, std::uint64_t length) {
    add("punch", punch_changes(disk_, file, offset, length));
  }
  void rename(InodeNumber from, const std::string& old, InodeNumber to, const std::string& fresh) {
    const InodeNumber moved = disk_.lookup(from, old);
    add("rename", {entry_change({{from, old, kNoInode}, {to, fresh, moved}})});
  }
  void exchange(InodeNumber a, const std::string& one, InodeNumber b, const std::string& other) {
    const InodeNumber first = disk_.lookup(a, one);
    const InodeNumber second = disk_.lookup(b, other);
    add("exchange", {entry_change({{a, one, second}, {b, other, first}})});
  }
  void unlink(InodeNumber directory, const std::string& name) {
    add("unlink", {entry_change({{directory, name, kNoInode}})});
  }
  void sync(InodeNumber inode) { history_.records.push_back({"fsync", {}, inode}); }
  /// What there is so far was there before, and is on the disk.
  void begin() { history_ = {disk_, {}}; }

  [[nodiscard]] const History& history() const { return history_; }
  [[nodiscard]] const Disk& disk() const { return disk_; }

 private:
  void add(std::string what, std::vector<Change> changes) {
    for (const Change& change : changes) disk_.apply(change);
    history_.records.push_back({std::move(what), std::move(changes), kNoInode});
  }

  Disk disk_;
  History history_;
  InodeNumber next_ = kRoot + 1;
};

std::string block_of(char letter) { return std::string(kDiskBlockBytes, letter); }

/// A file as a power failure left it: a letter for each block, '.' for zeros, '_' for a hole.
std::string shape_of(const Disk& disk, InodeNumber file) {
  std::string shape;
  const Inode& inode = *disk.find(file);
  for (std::uint64_t start = 0; start < inode.size; start += kDiskBlockBytes) {
    const bool is_hole = !inode.blocks.contains(start / kDiskBlockBytes);
    const char byte = disk.read(file, start, 1).front();
    shape += is_hole ? '_' : byte == 0 ? '.' : byte;
  }
  return shape;
}

/// Everything that the names of the root may lead to after a power failure at any moment:
/// "name=shape" for files, "name/" for directories with what is in them.
std::string describe(const Disk& disk, InodeNumber directory) {
  std::string text;
  for (const auto& [name, inode] : disk.find(directory)->entries) {
    text += text.empty() ? "" : " ";
    const bool is_directory = disk.find(inode)->is_directory();
    text += is_directory ? name + "/(" + describe(disk, inode) + ")"
                         : name + "=" + shape_of(disk, inode);
  }
  return text;
}

std::set<std::string> outcomes(const Recorder& recorder,
                               std::optional<std::size_t> records = std::nullopt,
                               std::optional<std::size_t> ignored_sync = std::nullopt) {
  const Model model(recorder.history(), ignored_sync);
  std::set<std::string> found;
  const std::size_t last = recorder.history().records.size();
  for (std::size_t i = records.value_or(0); i <= records.value_or(last); ++i) {
    model.visit_states(i, 1, 200, [&](const CrashState& state) {
      found.insert(describe(model.disk_of(state), kRoot));
    });
  }
  return found;
}

using Set = std::set<std::string>;

TEST(Disk, AWriteThatCrossesBlocksIsReadBack) {
  Recorder recorder;
  const InodeNumber file = recorder.make(kRoot, "f");
  recorder.write(file, 4000,
                 "across the blocks' border, by some two hundred bytes" + std::string(200, 'x'));
  EXPECT_EQ(recorder.disk().read(file, 4000, 5), "acros");
  EXPECT_EQ(recorder.disk().read(file, 4094, 3), std::string(3, 'x'));
  EXPECT_EQ(recorder.disk().find(file)->size, 4252U);
}

TEST(Disk, BytesThatWereCutOffReadAsZerosWhenTheFileGrows) {
  Recorder recorder;
  const InodeNumber file = recorder.make(kRoot, "f");
  recorder.write(file, 0, block_of('a') + block_of('b'));
  recorder.cut(file, 100);
  recorder.cut(file, 2 * kDiskBlockBytes);
  EXPECT_EQ(recorder.disk().read(file, 99, 2), std::string("a\0", 2));
  EXPECT_EQ(shape_of(recorder.disk(), file), "a_");
}

TEST(Model, AWriteWithoutSyncMayBeLost) {
  Recorder recorder;
  const InodeNumber file = recorder.make(kRoot, "f");
  recorder.write(file, 0, block_of('a'));
  recorder.begin();
  recorder.write(file, 0, block_of('b'));
  EXPECT_EQ(outcomes(recorder), (Set{"f=a", "f=b"}));
}

TEST(Model, ASyncedWriteIsKept) {
  Recorder recorder;
  const InodeNumber file = recorder.make(kRoot, "f");
  recorder.begin();
  recorder.write(file, 0, block_of('b'));
  recorder.sync(file);
  EXPECT_EQ(outcomes(recorder, 2), Set{"f=b"});
  EXPECT_TRUE(outcomes(recorder, 2, 1).contains("f=")) << "that sync is taken for never done";
}

TEST(Model, ALongWriteMayBeTornBetweenBlocks) {
  Recorder recorder;
  const InodeNumber file = recorder.make(kRoot, "f");
  recorder.write(file, 0, block_of('a') + block_of('a'));
  recorder.begin();
  recorder.write(file, 0, block_of('b') + block_of('b'));
  EXPECT_EQ(outcomes(recorder), (Set{"f=aa", "f=ab", "f=ba", "f=bb"}));
}

TEST(Model, AFileMayHaveItsSizeAndNotItsBlocks) {
  Recorder recorder;
  const InodeNumber file = recorder.make(kRoot, "f");
  recorder.begin();
  recorder.write(file, 0, block_of('b'));
  EXPECT_EQ(outcomes(recorder), (Set{"f=", "f=_", "f=.", "f=b"}));
}

TEST(Model, ALaterWriteDoesNotUndoASync) {
  Recorder recorder;
  const InodeNumber file = recorder.make(kRoot, "f");
  recorder.begin();
  recorder.write(file, 0, block_of('a'));
  recorder.sync(file);
  recorder.write(file, 0, block_of('b'));
  EXPECT_EQ(outcomes(recorder, 3), (Set{"f=a", "f=b"}));
}

TEST(Model, ASyncOfAFileDoesNotCoverItsName) {
  Recorder recorder;
  const InodeNumber file = recorder.make(kRoot, "f");
  recorder.write(file, 0, block_of('a'));
  recorder.sync(file);
  EXPECT_EQ(outcomes(recorder, 3), (Set{"", "f=a"}));
  recorder.sync(kRoot);
  EXPECT_EQ(outcomes(recorder, 4), Set{"f=a"});
}

TEST(Model, ARenameBeforeTheSyncMayLeaveAnEmptyFile) {
  Recorder recorder;
  const InodeNumber old = recorder.make(kRoot, "f");
  recorder.write(old, 0, block_of('a'));
  recorder.begin();
  const InodeNumber fresh = recorder.make(kRoot, "new");
  recorder.write(fresh, 0, block_of('b'));
  recorder.rename(kRoot, "new", kRoot, "f");
  recorder.sync(kRoot);
  EXPECT_EQ(outcomes(recorder, 4), (Set{"f=", "f=_", "f=.", "f=b"}));
}

TEST(Model, ARenameAfterTheSyncLeavesTheOldOrTheNewFile) {
  Recorder recorder;
  const InodeNumber old = recorder.make(kRoot, "f");
  recorder.write(old, 0, block_of('a'));
  recorder.begin();
  const InodeNumber fresh = recorder.make(kRoot, "new");
  recorder.write(fresh, 0, block_of('b'));
  recorder.sync(fresh);
  recorder.rename(kRoot, "new", kRoot, "f");
  EXPECT_EQ(outcomes(recorder, 4), (Set{"f=a", "f=a new=b", "f=b"}));
}

TEST(Model, ChangesOfSeveralNamesAreKeptInAnyOrder) {
  Recorder recorder;
  recorder.make(kRoot, "a");
  recorder.make(kRoot, "b");
  EXPECT_EQ(outcomes(recorder, 2), (Set{"", "a=", "b=", "a= b="}));
}

TEST(Model, ChangesOfOneNameAreKeptInTheirOrder) {
  Recorder recorder;
  const InodeNumber first = recorder.make(kRoot, "a");
  recorder.write(first, 0, block_of('1'));
  recorder.sync(first);
  recorder.unlink(kRoot, "a");
  const InodeNumber second = recorder.make(kRoot, "a");
  recorder.write(second, 0, block_of('2'));
  recorder.sync(second);
  EXPECT_EQ(outcomes(recorder, 7), (Set{"", "a=1", "a=2"}));
}

TEST(Model, ARenameIsDoneInBothDirectoriesOrInNone) {
  Recorder recorder;
  const InodeNumber from = recorder.make(kRoot, "from", S_IFDIR);
  const InodeNumber to = recorder.make(kRoot, "to", S_IFDIR);
  recorder.make(from, "f");
  recorder.begin();
  recorder.rename(from, "f", to, "g");
  EXPECT_EQ(outcomes(recorder, 1), (Set{"from/(f=) to/()", "from/() to/(g=)"}));
  recorder.sync(to);
  EXPECT_EQ(outcomes(recorder, 2), Set{"from/() to/(g=)"});
}

TEST(Model, AnExchangeIsDoneInBothDirectoriesOrInNone) {
  Recorder recorder;
  const InodeNumber store = recorder.make(kRoot, "store", S_IFDIR);
  const InodeNumber area = recorder.make(kRoot, "tmp", S_IFDIR);
  recorder.write(recorder.make(store, "vm"), 0, block_of('a'));
  recorder.write(recorder.make(area, "id"), 0, block_of('b'));
  recorder.begin();
  recorder.exchange(area, "id", store, "vm");
  EXPECT_EQ(outcomes(recorder), (Set{"store/(vm=a) tmp/(id=b)", "store/(vm=b) tmp/(id=a)"}));
}

TEST(Model, ADirectoryMayBeMovedWithoutItsEntries) {
  Recorder recorder;
  const InodeNumber directory = recorder.make(kRoot, "d", S_IFDIR);
  recorder.sync(kRoot);
  recorder.make(directory, "f");
  recorder.rename(kRoot, "d", kRoot, "e");
  EXPECT_EQ(outcomes(recorder, 4), (Set{"d/()", "d/(f=)", "e/()", "e/(f=)"}));
}

TEST(Model, ARemovedFileMayReturnWithoutItsSibling) {
  Recorder recorder;
  const InodeNumber directory = recorder.make(kRoot, "d", S_IFDIR);
  recorder.make(directory, "f");
  recorder.make(directory, "g");
  recorder.begin();
  recorder.unlink(directory, "f");
  recorder.unlink(directory, "g");
  EXPECT_EQ(outcomes(recorder, 2), (Set{"d/(f= g=)", "d/(f=)", "d/(g=)", "d/()"}));
}

TEST(Model, ATruncationAndTheWriteAfterItMayBothBeLost) {
  Recorder recorder;
  const InodeNumber file = recorder.make(kRoot, "f");
  recorder.write(file, 0, block_of('a') + block_of('a'));
  recorder.begin();
  recorder.cut(file, kDiskBlockBytes);
  recorder.write(file, kDiskBlockBytes, block_of('t'));
  const Set found = outcomes(recorder, 2);
  for (const char* shape : {"f=aa", "f=a", "f=at", "f=a_"})
    EXPECT_TRUE(found.contains(shape)) << shape;
}

TEST(Model, APunchedBlockMayHaveItsOldContents) {
  Recorder recorder;
  const InodeNumber file = recorder.make(kRoot, "f");
  recorder.write(file, 0, block_of('a') + block_of('b'));
  recorder.begin();
  recorder.punch(file, 0, 2 * kDiskBlockBytes);
  EXPECT_EQ(outcomes(recorder), (Set{"f=ab", "f=_b", "f=a_", "f=__"}));
}

}  // namespace
}  // namespace lamina::torture
