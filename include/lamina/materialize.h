#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/words.h"

namespace lamina {

enum class Reflink : std::uint8_t {
  kAuto,    ///< share storage with the layers where the file system can, else copy
  kAlways,  ///< fail where it cannot
  kNever,   ///< copy
};

template <>
inline constexpr std::array kWords<Reflink> = {Word<Reflink>{"auto", Reflink::kAuto},
                                               Word<Reflink>{"always", Reflink::kAlways},
                                               Word<Reflink>{"never", Reflink::kNever}};

struct MaterializeOptions {
  std::string snapshot;
  std::string out;  ///< must not exist
  Reflink reflink = Reflink::kAuto;
  Progress* progress = nullptr;  ///< may be null
};

struct MaterializeReport {
  std::uint64_t memory_bytes = 0;
  std::uint64_t data_bytes = 0;  ///< the rest of the file is holes
  std::uint64_t cloned_bytes = 0;
};

/// Writes the snapshot's memory as one sparse file that a VMM can map. Every block is checked
/// against its checksum; a wrong one fails with kCorrupt and leaves no file. The file appears under
/// its name only when it is complete and on the disk.
Result<MaterializeReport> materialize(const MaterializeOptions& options);

}  // namespace lamina
