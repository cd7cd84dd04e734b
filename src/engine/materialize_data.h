#pragma once

#include <cstdint>
#include <string>

#include "engine/chain.h"
#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina::engine {

/// Whether the memory file shares storage with the layers.
enum class Sharing : std::uint8_t {
  kAuto,    ///< share if the file system supports it, else copy
  kAlways,  ///< fail if it does not
  kNever,   ///< copy everything
};

struct MaterializeTarget {
  int destination = -1;  ///< an empty file
  std::string path;
  std::uint64_t memory_bytes = 0;
  Sharing sharing = Sharing::kAuto;
  Progress* progress = nullptr;
};

struct MaterializedData {
  std::uint64_t cloned_bytes = 0;
  std::uint64_t copied_bytes = 0;
};

/// Writes the memory of `chain` as one sparse file; zeros become holes. Verifies every block:
/// copied blocks in the buffer that they are written from, cloned blocks by reading the layer. Not
/// synced.
Result<MaterializedData> materialize_data(const Chain& chain, const MaterializeTarget& target);

}  // namespace lamina::engine
