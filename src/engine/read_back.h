// Reading what the kernel has moved for us, before its source may go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace lamina::engine {

/// True when the blocks of `fd` from `first_block` on have these checksums; false when one has not,
/// or cannot be read. `buffer` is scratch space of at least a block.
bool blocks_match(int fd, std::uint64_t first_block, std::span<const std::uint64_t> checksums,
                  std::span<std::byte> buffer, const std::string& path);

}  // namespace lamina::engine
