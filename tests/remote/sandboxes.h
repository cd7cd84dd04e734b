// Snapshots of sandboxes in local stores, with what they must contain, and a bucket in a directory.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "lamina/remote.h"
#include "lamina/uuid.h"
#include "object_store/object_store.h"
#include "remote/collect.h"
#include "scratch_directory.h"

namespace lamina::tests {

/// What a snapshot must contain.
struct SandboxState {
  Uuid pause_id;
  std::set<Uuid> ancestors;  ///< pauses before this one
  Uuid parent;
  std::string memory;  ///< whole pages
  std::string vmstate;
  std::map<std::string, std::string> attached;
};

/// A snapshot in a local store.
struct LocalSandbox {
  std::string path;
  SandboxState state;
};

class Sandboxes {
 public:
  explicit Sandboxes(std::uint64_t seed) : random_(seed) {}

  [[nodiscard]] std::mt19937_64& random() { return random_; }
  [[nodiscard]] const std::filesystem::path& root() const { return scratch_.path(); }

  /// A local store.
  std::string store(const std::string& name);
  /// The directory that is the bucket.
  [[nodiscard]] std::string bucket_directory() const;
  [[nodiscard]] std::string url() const { return "file://" + bucket_directory(); }
  /// The bucket, opened anew.
  std::unique_ptr<object_store::ObjectStore> open_bucket();

  /// A pause: a new snapshot in `store`, a diff of `parent` if there is one.
  LocalSandbox pause(const std::string& store, const LocalSandbox* parent, bool with_files = true);

  /// Compares the snapshot at `path` with what it must contain.
  static void expect_state(const std::string& path, const SandboxState& expected,
                           const std::filesystem::path& scratch);
  void expect_state(const std::string& path, const SandboxState& expected) const {
    expect_state(path, expected, root());
  }

  /// Pulls the newest state of `name`, and compares it with `expected`.
  void expect_newest(const std::string& name, const SandboxState& expected);

  /// After a prune to which all pins are expired: exactly what manifests reference is left.
  void expect_nothing_left_over(std::optional<std::uint64_t> keep_last = {});

  /// A new name.
  std::string fresh_name() { return "s" + std::to_string(++names_); }

 private:
  void change_memory(std::string& memory, std::vector<bool>& written);
  std::string random_text(std::size_t bytes);

  ScratchDirectory scratch_;
  std::mt19937_64 random_;
  int names_ = 0;
};

}  // namespace lamina::tests
