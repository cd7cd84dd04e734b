// What must hold of a snapshot whose files are not what was stored: whoever reads it gets the right
// bytes, or an error.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"
#include "scene.h"

namespace lamina::torture {

enum class Outcome : std::uint8_t {
  kRefused,   ///< it cannot be opened
  kStopped,   ///< it opens, and blocks that are wrong are errors
  kHarmless,  ///< all of its memory is right
};

/// What the readers of blocks make of a snapshot that should have `memory`. An error when one gets
/// a wrong byte, or an error that does not say of what.
Result<Outcome> read_damaged(const std::string& snapshot, const Memory& memory);

/// What is made from a damaged snapshot by all else that reads one.
class Derivation {
 public:
  /// `snapshot` is to be damaged, in the store of `stage`; `memory` is what it had. Prepares a diff
  /// over it. Throws std::runtime_error when that fails.
  Derivation(Stage& stage, std::string snapshot, Memory memory);

  /// Materializes, merges and repairs the snapshot and puts a child on it; each must fail or give
  /// the right bytes, or errors for them. `must_be_repaired`: only what repair rebuilds is damaged.
  /// Nothing of it is left.
  Status check(bool must_be_repaired);

 private:
  Status check_materialized();
  Status check_merged();
  Status check_child();
  Status check_repaired(bool must_be_repaired);

  Stage& stage_;
  std::string snapshot_;
  Memory memory_;
  Memory child_memory_;
};

}  // namespace lamina::torture
