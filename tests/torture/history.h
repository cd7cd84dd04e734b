// What a power failure may leave: the model.
//
// A History is what programs did to a disk, in the order in which they did it: records of changes,
// and syncs. A power failure comes after any number of them. What it leaves:
//
//   everything that a sync covered. fsync and fdatasync of a file cover its data, size and mode;
//   fsync of a directory covers the names in it. A sync of a file does not cover its name, a sync
//   of a directory does not cover the files that it names.
//
//   any part of the rest, where the parts are: one block of 4 KiB of a file with the contents that
//   one write gave it (or a hole, where it was punched); a file's size; its mode; all the names
//   that one call changed. A rename is one part, also between two directories and when it exchanges
//   them, and is covered by a sync of either.
//
//   Parts depend on earlier ones of the same thing only: a name's change on the change before it of
//   the same name, a file's size and mode on those before. So a file may have its name and nothing
//   of its data, its size and not its blocks (they read as holes, or as zeros), old and new blocks
//   side by side; a directory may have the later of two names and not the earlier.
//
// That is what POSIX leaves open. Journaling file systems promise more: what is not data is on the
// disk in the order in which it was done, and a sync of anything brings all of it before. States of
// that *ordered* model are among those above; they are made on purpose as well, since they are the
// ones that happen.
//
// Not in the model: a disk that loses what it said it had written, that tears a block of 4 KiB, or
// that damages what was not written to; those are for the checksums. Data of a file that was never
// written and reads as another file's old data (ext4 with data=writeback) is left to them as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "disk.h"

namespace lamina::torture {

struct Record {
  std::string what;  ///< for people: "rename .tmp/ID to vm-1"
  std::vector<Change> changes;
  InodeNumber synced = kNoInode;  ///< of a sync: what
};

struct History {
  Disk before;  ///< all of it on the disk
  std::vector<Record> records;
};

/// A part that may be on the disk or not.
struct Part {
  std::size_t record = 0;
  const Change* change = nullptr;
  std::vector<std::size_t> needs;  ///< earlier parts that are on the disk when this one is
};

/// One state that a power failure may leave.
struct CrashState {
  std::size_t records = 0;  ///< so many had been done
  std::vector<bool> kept;   ///< for each part: on the disk
  bool zero_fill = false;   ///< new blocks that are lost read as written zeros, not as holes
  std::string what;         ///< for people: how it was made
};

class Model {
 public:
  /// `history` must outlive this. Record `ignored_sync`, if any, is taken for never done.
  explicit Model(const History& history, std::optional<std::size_t> ignored_sync = std::nullopt);

  [[nodiscard]] const std::vector<Part>& parts() const { return parts_; }

  /// Which parts must be on the disk after so many records.
  [[nodiscard]] std::vector<bool> covered(std::size_t records) const;

  /// The disk as it is then. Inodes keep their numbers.
  [[nodiscard]] Disk disk_of(const CrashState& state) const;

  /// Calls `visit` with states after `records` records: all of it on the disk; nothing that is not
  /// covered; each part alone lost, or kept; the ordered states; and `random` others.
  void visit_states(std::size_t records, std::uint64_t seed, std::size_t random,
                    const std::function<void(CrashState)>& visit) const;

  /// The parts that are lost, for people.
  [[nodiscard]] std::string losses_of(const CrashState& state) const;

 private:
  void keep_with_needs(std::vector<bool>& kept, std::size_t part) const;
  void drop_with_dependents(std::vector<bool>& kept, std::size_t part) const;
  void visit_single_losses(const CrashState& all, const std::vector<bool>& covered,
                           const std::function<void(CrashState)>& visit) const;
  void visit_ordered(const CrashState& all, const std::vector<bool>& covered,
                     const std::function<void(CrashState)>& visit) const;
  [[nodiscard]] std::vector<bool> kept_in_order(std::size_t end, const std::vector<bool>& covered,
                                                bool with_sizes) const;
  [[nodiscard]] std::vector<std::vector<std::size_t>> groups(
      const CrashState& all, const std::vector<bool>& covered) const;

  const History& history_;
  std::optional<std::size_t> ignored_sync_;
  std::vector<Part> parts_;
};

}  // namespace lamina::torture
