// A small guest's memory, the files that a VMM writes of it, and snapshots made from them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "lamina/header_format.h"
#include "lamina/ingest.h"
#include "lamina/result.h"
#include "scene.h"

namespace lamina::torture {

inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::size_t kPages = 40;
/// The last page is not whole.
inline constexpr std::size_t kMemoryBytes = kPages * kPageBytes - 1000;

using Pages = std::vector<std::size_t>;

/// Pages with data, and runs of zeros.
Memory first_memory(Stage& stage);

/// The guest runs: returns the pages that are dirty now. Written ones, cleared ones, and one that
/// has what it had.
Pages change(Memory& memory, Stage& stage);

/// Writes a memory file as Firecracker does: dirty pages, all else holes. Synced, as it does.
Status write_diff(const std::string& path, const Memory& memory, const Pages& dirty);
Status write_full(const std::string& path, const Memory& memory);

/// Snapshot `name` of all of `memory`.
Status add_full(Stage& stage, const std::string& name, const Memory& memory);
/// Snapshot `name` of what a run of the guest changed, over `parent`.
Status add_diff(Stage& stage, const std::string& name, const std::string& parent, Memory& memory,
                Layout layout = Layout::kCompact, HeaderFormat header = HeaderFormat::kNative);
/// Gives snapshot `name` a working set.
Status store_working_set(Stage& stage, const std::string& name, std::uint32_t first_page);

/// What went wrong, if anything has.
template <typename T>
Status status_of(const Result<T>& result) {
  if (result) return {};
  return std::unexpected(result.error());
}

}  // namespace lamina::torture
