// Layers that a store has already.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/layer.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "packed/packed_object.h"

namespace lamina::remote {

/// A layer in a snapshot of the store, and that snapshot's open directory.
struct LocalLayer {
  os::Fd directory;
  engine::Layer layer;
};

/// Finds layers in the snapshots of an open store. Not thread-safe.
class LayerSearch {
 public:
  /// `store` is its descriptor, which must outlive this.
  static Result<LayerSearch> open(int store, std::string path);

  /// A layer of the store that was packed with this index; nullopt: it has none. What cannot be
  /// read is passed over.
  [[nodiscard]] std::optional<LocalLayer> find(const packed::ObjectIndex& index) const;

 private:
  LayerSearch(int store, std::string path, std::vector<std::string> snapshots)
      : store_(store), path_(std::move(path)), snapshots_(std::move(snapshots)) {}

  int store_;
  std::string path_;
  std::vector<std::string> snapshots_;
};

}  // namespace lamina::remote
