#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lamina::engine {
namespace {

bool is_zero_bytes(const std::byte* bytes, std::size_t size) {
  constexpr std::size_t kWords = 16;
  for (std::size_t i = 0; i < size; i += kWords * sizeof(std::uint64_t)) {
    std::uint64_t words[kWords];  // NOLINT(modernize-avoid-c-arrays): copied into registers
    std::memcpy(words, bytes + i, sizeof(words));
    std::uint64_t any = 0;
    for (const std::uint64_t word : words) any |= word;
    if (any != 0) return false;
  }
  return true;
}

}  // namespace
}  // namespace lamina::engine

#include "engine/block_scan_loop.h"
#include "engine/block_scan_paths.h"

namespace lamina::engine {

ScanPath portable_scan_path() { return {"portable", is_zero_bytes, checksum_bytes, scan_all}; }

}  // namespace lamina::engine
