#pragma once

#include <cstdint>
#include <string>

#include "engine/chain.h"
#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina::engine {

/// How the memory file is put together.
enum class Sharing : std::uint8_t {
  kAuto,    ///< share storage with the layers where the file system can, else copy
  kAlways,  ///< fail where it cannot
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

/// Writes the memory that `chain` resolves to as one sparse file; zeros are holes. Every block is
/// checked: copied ones in the buffer they are written from, cloned ones by reading the layer. Not
/// synced.
Result<MaterializedData> materialize_data(const Chain& chain, const MaterializeTarget& target);

}  // namespace lamina::engine
