// Snapshots whose memory is known.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lamina/result.h"

namespace lamina::tests {

struct MadeSnapshot {
  std::string path;
  std::vector<std::byte> memory;  ///< what it resolves to
};

/// Makes a chain of `generations` snapshots below the directory `store` of a memory of `bytes`,
/// with blocks in all three states.
Result<MadeSnapshot> make_snapshot(const std::filesystem::path& store, std::size_t bytes,
                                   int generations, std::uint64_t seed);

}  // namespace lamina::tests
