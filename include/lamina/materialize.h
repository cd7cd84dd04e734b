// Writing a snapshot's memory as one file.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/words.h"

namespace lamina {

/// Whether the file shares storage with the layers (FICLONERANGE).
enum class Reflink : std::uint8_t {
  kAuto,    ///< where the file system can, else copy
  kAlways,  ///< fail where it cannot
  kNever,   ///< copy everything
};

template <>
inline constexpr std::array kWords<Reflink> = {Word<Reflink>{"auto", Reflink::kAuto},
                                               Word<Reflink>{"always", Reflink::kAlways},
                                               Word<Reflink>{"never", Reflink::kNever}};

struct MaterializeOptions {
  std::string snapshot{};  ///< path: STORE/NAME
  /// Path of the file, which must not exist: also for Store::materialize() never a name in the
  /// store.
  std::string out{};
  Reflink reflink = Reflink::kAuto;
  Progress* progress = nullptr;  ///< may be null
};

struct MaterializeReport {
  std::uint64_t memory_bytes = 0;
  std::uint64_t data_bytes = 0;    ///< the rest of the file is holes
  std::uint64_t cloned_bytes = 0;  ///< of the data, what shares storage with layers
};

/// Writes the snapshot's memory as one sparse file, which any number of VMMs can map privately
/// (MAP_PRIVATE). Every block is checked against its checksum, if it has one. The file belongs to
/// the effective user, with mode 0600: before a VMM of another user can map it, chown(2) or
/// chmod(2) it. It gets its name when it is complete and on the disk.
///
/// On failure there is no file, unless only the last sync of the directory failed. kNotFound: the
/// snapshot, or the directory of `out`; kCorrupt: the header or a block; kUsage: `out` cannot name
/// a file; kExists: `out` exists; kUnsupported: storage cannot be shared, with Reflink::kAlways;
/// kNoSpace; kInterrupted; else kFailed. Thread-safe.
Result<MaterializeReport> materialize(const MaterializeOptions& options);

}  // namespace lamina
