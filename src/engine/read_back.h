// Verifies data that the kernel has copied, before its source is deleted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace lamina::engine {

/// True if the blocks of `fd` from `first_block` on have these checksums; false if one does not or
/// cannot be read. `buffer` is scratch space of at least one block.
bool blocks_match(int fd, std::uint64_t first_block, std::span<const std::uint64_t> checksums,
                  std::span<std::byte> buffer, const std::string& path);

}  // namespace lamina::engine
