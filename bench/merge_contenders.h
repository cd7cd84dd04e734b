// Contenders that merge all layers of one chain.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bench.h"
#include "chain_benchmarks.h"
#include "lamina/result.h"
#include "mapping/overlay.h"
#include "plain_reference.h"
#include "snapshot_chain.h"
#include "store/snapshot_directory.h"

namespace lamina::bench {

class MergeContenders {
 public:
  /// `chain` must outlive this object, and this object its contenders.
  static Result<std::unique_ptr<MergeContenders>> create(const SnapshotChain& chain);

  [[nodiscard]] std::uint64_t bytes() const;
  [[nodiscard]] std::string description() const;

  Contender plain();
  Contender ours();
  /// The engine's part alone: no trailer, no header, no sync.
  Contender engine_alone(const std::string& name);

  enum class Sync : std::uint8_t { kNo, kYes, kPublish };
  /// One clone or copy call per run of the merge plan.
  Contender floor(const std::string& name, Sharing sharing, Sync sync);

 private:
  MergeContenders(const SnapshotChain& chain, store::OpenSnapshot source, mapping::MergePlan plan);

  /// The six syncs of publishing a compact layer.
  Status publish();

  const SnapshotChain& chain_;
  store::OpenSnapshot source_;
  mapping::MergePlan plan_;
  std::string target_;
  std::string sync_store_;
  std::string merged_;
  PlainPaths plain_out_;
  PlainHeader plain_result_;
};

}  // namespace lamina::bench
