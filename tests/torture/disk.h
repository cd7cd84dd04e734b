// A disk in memory: inodes, directories, data in blocks of 4 KiB. All that ever happens to it is a
// Change, the smallest thing that a power failure may keep or lose (history.h), so that the tree
// that programs see and the trees that a power failure may leave are made by the same code.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lamina::torture {

using InodeNumber = std::uint64_t;
inline constexpr InodeNumber kNoInode = 0;
inline constexpr InodeNumber kRoot = 1;
inline constexpr std::uint64_t kDiskBlockBytes = 4096;

/// The contents of one block. Never changed once made: disks share them.
struct Block {
  std::array<char, kDiskBlockBytes> bytes{};
  std::uint64_t hash = 0;

  static std::shared_ptr<const Block> of(const std::array<char, kDiskBlockBytes>& bytes);
};
using BlockPointer = std::shared_ptr<const Block>;

struct Inode {
  mode_t mode = 0;  ///< type and permissions
  uid_t uid = 0;
  gid_t gid = 0;
  std::uint64_t links = 0;  ///< names in reachable directories; of a directory 1
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::map<std::uint64_t, BlockPointer> blocks;  ///< what is not here is a hole
  std::map<std::string, InodeNumber> entries;    ///< of a directory
  std::string target;                            ///< of a symbolic link
  mutable std::uint64_t hash = 0;                ///< of all but links and times; 0: not known

  [[nodiscard]] bool is_directory() const;
  [[nodiscard]] bool is_file() const;
};

/// What one name of a directory becomes: an inode, or (kNoInode) nothing.
struct Assignment {
  InodeNumber directory = kNoInode;
  std::string name;
  InodeNumber inode = kNoInode;
};

enum class ChangeKind : std::uint8_t {
  kInode,   ///< an inode is made; without a name nobody sees it
  kBlock,   ///< one block of a file has other contents, or becomes a hole
  kSize,    ///< the size; what lies past it is cut off
  kMode,    ///< permissions and owner
  kEntries  ///< names of directories: all of `entries` at once, as a rename is
};

struct Change {
  ChangeKind kind = ChangeKind::kInode;
  InodeNumber inode = kNoInode;  ///< not of kEntries
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::uint64_t number = 0;  ///< of the block, or the size
  BlockPointer block;
  std::string target;
  std::vector<Assignment> entries;
  std::int64_t time_ns = 0;
};

class Disk {
 public:
  /// An empty one: only the root.
  Disk();

  void apply(const Change& change);

  [[nodiscard]] const Inode* find(InodeNumber number) const;
  [[nodiscard]] InodeNumber lookup(InodeNumber directory, const std::string& name) const;
  /// "store/vm-1/memfile.header"; empty for the root, "?" for what has no name.
  [[nodiscard]] std::string path_of(InodeNumber number) const;
  /// Bytes of a file from `offset`, up to its end.
  [[nodiscard]] std::string read(InodeNumber number, std::uint64_t offset,
                                 std::uint64_t length) const;

  /// Drops what cannot be reached from the root and counts links anew.
  void prune();
  /// Of everything that a program could find out, but for times. REQUIRES: pruned.
  [[nodiscard]] std::uint64_t hash() const;

 private:
  /// To be changed: disks that are copies of each other share what neither has changed.
  Inode& at(InodeNumber number);
  void count_links(InodeNumber number, int difference);

  std::map<InodeNumber, std::shared_ptr<Inode>> inodes_;
};

// The changes that an operation on a disk consists of. None of them checks anything.

std::vector<Change> write_changes(const Disk& disk, InodeNumber file, std::uint64_t offset,
                                  std::string_view bytes);
std::vector<Change> size_changes(const Disk& disk, InodeNumber file, std::uint64_t size);
std::vector<Change> punch_changes(const Disk& disk, InodeNumber file, std::uint64_t offset,
                                  std::uint64_t length);
Change mode_change(const Disk& disk, InodeNumber inode, mode_t mode, uid_t uid, gid_t gid);
Change inode_change(InodeNumber inode, mode_t mode, uid_t uid, gid_t gid, std::string target = {});
Change entry_change(std::vector<Assignment> entries);

}  // namespace lamina::torture
