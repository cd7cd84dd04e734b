// Reading a snapshot's memory without writing it out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lamina/inspect.h"
#include "lamina/result.h"

namespace lamina {

/// A snapshot that was opened once and is read by descriptor: whatever happens to its name
/// afterwards (merged, replaced, removed), this goes on reading the state that it had. Copies share
/// what is open. Thread-safe.
class SnapshotReader {
 public:
  /// Opens and validates the snapshot at `path` (STORE/NAME): header, facts, the trailer of each
  /// layer. kNotFound when there is none; kCorrupt for what no writer of lamina leaves.
  static Result<SnapshotReader> open(const std::string& path);

  /// Layers, extents (ExtentInfo, in the order of the memory; together they cover it), pause ids,
  /// as they were when it was opened.
  [[nodiscard]] const SnapshotInfo& info() const;
  [[nodiscard]] std::uint64_t memory_bytes() const;

  /// Reads the guest's memory at [offset_bytes, offset_bytes + buffer.size()), of any alignment.
  /// Every block that is touched is read whole and checked against its checksum: kCorrupt names the
  /// layer and place of a wrong one. kUsage when the range leaves the memory. `buffer` is undefined
  /// after an error.
  [[nodiscard]] Status read(std::uint64_t offset_bytes, std::span<std::byte> buffer) const;

 private:
  struct State;
  explicit SnapshotReader(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

}  // namespace lamina
