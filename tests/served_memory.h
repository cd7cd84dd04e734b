// Memory that is served in tests: a snapshot whose truth is known, and a guest that uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "fake_firecracker.h"
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

/// Threads that read, write and give back all of the guest's pages at random, and compare every
/// byte; 0 when every page was always right.
int use_memory(std::span<GuestRegion> regions, const std::vector<std::byte>& truth, int threads,
               int operations, std::uint64_t seed);

}  // namespace lamina::tests
