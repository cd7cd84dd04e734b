// Inputs: a snapshot with a chain of layers, and the same pauses as the plain reference stores
// them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "guest_memory.h"
#include "lamina/result.h"
#include "plain_mapping.h"

namespace lamina::bench {

/// The share of memory that a guest dirties between two pauses.
inline constexpr double kDirtyFraction = 0.03;

struct SnapshotChain {
  std::string directory;
  std::string store;
  std::string youngest;  ///< STORE/NAME of the last pause; its layers are adopted memory files
  GuestMemory memory;    ///< at the last pause

  PlainHeader plain_header;
  std::map<std::string, std::string> plain_files;  ///< by build id
  GuestMemory plain_memory;  ///< as above, where the original reads written zeros as unchanged
};

/// Makes an empty directory and a store in it.
Status make_store(const std::string& path);

/// Pauses a guest again and again.
class ChainBuilder {
 public:
  enum class Base : std::uint8_t { kAllWritten, kSparse };  ///< zeros of the full file: data, holes
  enum class Plain : std::uint8_t { kYes, kNo };            ///< store the same as the original does

  /// The first pause, of all memory, below the new directory `directory`.
  static Result<ChainBuilder> start(const std::string& directory, GuestMemory memory, Base base,
                                    Plain plain);
  /// The next one, with what `diff` says changed since.
  Status add(const std::vector<DirtyRun>& diff);

  [[nodiscard]] const SnapshotChain& chain() const { return chain_; }
  [[nodiscard]] SnapshotChain take() { return std::move(chain_); }

 private:
  ChainBuilder(SnapshotChain chain, Plain plain) : chain_(std::move(chain)), plain_(plain) {}

  /// Stores `memory_file` as the next pause, both ways.
  Status store(const std::string& memory_file);

  SnapshotChain chain_;
  Plain plain_;
  std::uint32_t pauses_ = 0;
};

/// Pauses a half-used guest of `blocks` blocks 1 + `diffs` times, below the new directory
/// `directory`.
Result<SnapshotChain> build_chain(const std::string& directory, std::uint32_t blocks,
                                  std::uint32_t diffs);

}  // namespace lamina::bench
