// Progress and interruption for the loops that move bytes.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina::engine {

/// Blocks that are read, scanned and written at a time; they fit in the second-level cache.
inline constexpr std::uint32_t kChunkBlocks = 64;

/// Reports `bytes` done; kInterrupted if the caller wants to stop. `progress` may be null.
inline Status advance(Progress* progress, std::uint64_t bytes) {
  if (progress == nullptr) return {};
  progress->advance(bytes);
  if (progress->interrupted()) return fail(ErrorKind::kInterrupted, "interrupted");
  return {};
}

}  // namespace lamina::engine
