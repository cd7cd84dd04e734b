// The journal of an adoption, <store>/.pending/<id>.json: where a memory file came from, and which
// file it is. While it exists, the adoption can be undone (store/adoption.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "os/file.h"
#include "store/store.h"
#include "store/store_identity.h"

namespace lamina::store {

struct AdoptionJournal {
  StoreIdentity belongs_to;
  std::string source;            ///< path that the file was moved from; absolute
  std::string layer_name;        ///< its name in the staging directory
  std::uint64_t size_bytes = 0;  ///< without a trailer
  std::uint64_t mode = 0;
  std::uint64_t user = 0;
  std::uint64_t group = 0;
  // The identity of the file, and of the directory that it came from.
  std::uint64_t inode = 0;
  std::int64_t born_ns = 0;
  std::uint64_t directory_inode = 0;
  // The identity of the copy that replaces a file whose data is not on the disk; 0: there is no
  // copy.
  std::uint64_t copy_inode = 0;
  std::int64_t copy_born_ns = 0;

  /// Whether `file` is the one that was moved, or its copy.
  [[nodiscard]] bool is_of(const os::FileFacts& file) const;
};

/// Reads the journal of adoption `id`. Empty if there is none, or it is incomplete: then it was not
/// yet on the disk when the process died, and the memory file had not been moved.
Result<std::optional<AdoptionJournal>> read_adoption_journal(const Store& store,
                                                             const std::string& id);

/// Writes the journal of a new adoption, durably.
Status write_adoption_journal(const Store& store, const std::string& id,
                              const AdoptionJournal& journal);

/// Replaces it, durably.
Status replace_adoption_journal(const Store& store, const std::string& id,
                                const AdoptionJournal& journal);

}  // namespace lamina::store
