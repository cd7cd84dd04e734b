// One operation to be tried, the store and the files that it finds, and what must hold after it.
// Runs in the process that works in the mount (worker.h); never sees where the disk comes from.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/result.h"
#include "os/sparse_file.h"
#include "virtual_machine.h"

namespace lamina::torture {

/// All of a guest's memory.
using Memory = std::string;

/// What must hold, whatever happens in between.
struct Expectation {
  /// Snapshots that were acknowledged before and are not touched: always there.
  std::map<std::string, Memory> others;
  /// The snapshot that is made, changed or removed; empty: none. Before the operation it resolves
  /// to `before`, after it to `after`; nothing: it is not there.
  std::string target;
  std::optional<Memory> before;
  std::optional<Memory> after;
  bool readable_before = true;   ///< false: it is broken, and the operation repairs it
  std::size_t layers_after = 0;  ///< of the target, where the memory is the same; 0: not looked at
  /// A memory file that is moved into the store or removed when it is there.
  std::string memory_file;
  Memory memory_file_contents;
  bool holes_matter = false;  ///< of the memory file: it is a diff
  bool may_stay = false;      ///< the memory file is removed at last, which is not synced
  /// A file that the operation makes, with the memory `after`.
  std::string out;
  /// The target's working set is one of these.
  std::vector<std::string> working_sets;
  /// May be given again once it is done.
  bool repeatable = false;
};

/// Where things are.
struct Stage {
  std::string top;               ///< in the mount: all that a power failure may change
  std::string store;             ///< in `top`
  std::string outside;           ///< a directory that no power failure touches
  std::string fake_firecracker;  ///< the program

  Expectation expected;
  std::vector<ByteRange> memory_file_extents;
  std::mt19937_64 random{1};
  VirtualMachine vm;

  [[nodiscard]] std::string file(std::string_view name) const {
    return top + "/" + std::string(name);
  }
  [[nodiscard]] std::string snapshot(std::string_view name) const {
    return store + "/" + std::string(name);
  }
};

struct Scene {
  std::string_view name;
  std::string_view description;
  Status (*set_up)(Stage&);
  Status (*operate)(Stage&);
  bool has_vm = false;  ///< that goes with the power, so the operation cannot be given again
};

/// All of them, in the order in which they are told.
const std::vector<Scene>& all_scenes();
const Scene* find_scene(std::string_view name);

/// The memory that a snapshot resolves to.
Result<Memory> memory_of(const Stage& stage, const std::string& snapshot);
Result<std::string> contents_of(const std::string& path);
/// Number of layer files in a snapshot's directory.
std::size_t layer_count(const std::string& snapshot);

}  // namespace lamina::torture
