#include "operations/snapshot_summary.h"

#include <fcntl.h>

#include <algorithm>
#include <array>

#include "base/block.h"
#include "base/error.h"
#include "format/trailer.h"
#include "mapping/statistics.h"
#include "operations/disk_use.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/ancestors.h"
#include "store/snapshot_directory.h"

namespace lamina::operations {
namespace {

/// How often a snapshot is described again if it is replaced meanwhile.
constexpr int kAttempts = 20;
/// A directory that mkfs makes at the root of a file system: not worth a note.
constexpr const char* kLostAndFound = "lost+found";

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::binary_search(names.begin(), names.end(), name);
}

bool looks_like_snapshot(const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name == store::kHeaderName || name == store::kFactsName ||
           store::parse_layer_file_name(name);
  });
}

/// The number of blocks that a layer stores, from the end of its file.
Result<std::uint64_t> stored_blocks(int directory, const std::string& name,
                                    const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile opened,
                          os::open_regular(directory, name, O_RDONLY, path));
  const std::uint64_t file_bytes = opened.facts.size_bytes;
  if (file_bytes < format::kFooterBytes) return blocks_for(file_bytes);
  std::array<std::byte, format::kFooterBytes> bytes{};
  LAMINA_RETURN_IF_ERROR(
      os::read_exactly_at(opened.fd.get(), bytes, file_bytes - bytes.size(), path));
  const auto footer = format::decode_footer(bytes, file_bytes);
  if (!footer) {
    return std::unexpected(with_context(fmt::format("layer '{}'", path), footer.error()));
  }
  return *footer ? (*footer)->stored_blocks : blocks_for(file_bytes);
}

/// Describes one directory.
class SelfDescription {
 public:
  SelfDescription(int directory, std::string path, const std::vector<std::string>& names,
                  SnapshotListing& listing)
      : directory_(directory), path_(std::move(path)), names_(names), listing_(listing) {}

  void run(bool with_dead_bytes) {
    listing_.has_vmstate = contains(names_, store::kVmstateName);
    const auto facts = store::read_facts(directory_, path_);
    if (!facts) keep(facts.error());
    if (facts && *facts) take(**facts);
    const auto header = store::read_header(directory_, path_);
    if (!header) {
      // More helpful than an error about the facts, which often is its cause.
      listing_.error = header.error();
      return;
    }
    take(*header);
    if (facts && *facts) keep(store::check_facts(*header, **facts, path_));
    keep(find_layers(*header, with_dead_bytes));
  }

 private:
  void keep(const Error& error) {
    if (!listing_.error) listing_.error = error;
  }
  void keep(const Status& status) {
    if (!status) keep(status.error());
  }

  void take(const store::SnapshotFacts& facts) {
    listing_.pause_id = facts.pause_id;
    listing_.parent_pause_id = facts.parent_pause_id;
    listing_.ancestors = store::ancestors_of(facts);
    listing_.parent = facts.parent;
    listing_.created = facts.created;
    listing_.generation = facts.generation;
    listing_.layers = facts.layers.size();
    listing_.memory_bytes = facts.memory_bytes;
    listing_.header = facts.header_format;
    listing_.pause = facts.pause;
  }

  void take(const format::Header& header) {
    if (!header.pause_id.is_nil()) listing_.pause_id = header.pause_id;
    if (!listing_.pause_id) listing_.pause_id = header.build_id;
    listing_.generation = header.generation;
    listing_.layers = header.mapping.layers().size();
    listing_.memory_bytes = header.memory_bytes;
    listing_.header = header.format;
  }

  [[nodiscard]] std::string file_of(const Uuid& layer, const format::Header& header) const {
    std::string name = store::layer_file_name(layer);
    const bool legacy = header.mapping.layers().size() == 1 &&
                        header.format != HeaderFormat::kNative && !contains(names_, name) &&
                        contains(names_, store::kLegacyLayerName);
    return legacy ? store::kLegacyLayerName : name;
  }

  Status find_layers(const format::Header& header, bool with_dead_bytes) {
    const auto layers = header.mapping.layers();
    mapping::Statistics statistics;
    if (with_dead_bytes) statistics = mapping::statistics_of(header.mapping);
    std::uint64_t dead_blocks = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const std::string name = file_of(layers[i], header);
      const std::string path = path_ + "/" + name;
      if (!contains(names_, name)) {
        return fail(ErrorKind::kNotFound, "layer '{}' is missing", path);
      }
      if (!with_dead_bytes) continue;
      LAMINA_ASSIGN_OR_RETURN(const std::uint64_t stored, stored_blocks(directory_, name, path));
      const std::uint64_t live = statistics.layers[i + 1].live_blocks;
      dead_blocks += stored - std::min(stored, live);
    }
    if (with_dead_bytes) listing_.dead_bytes = dead_blocks * kBlockBytes;
    return {};
  }

  int directory_;
  std::string path_;
  const std::vector<std::string>& names_;
  SnapshotListing& listing_;
};

void add_sizes(SnapshotListing& listing) {
  for (const FileUse& file : listing.files) {
    (file.links_here >= file.link_count ? listing.own_bytes : listing.shared_bytes) +=
        file.allocated_bytes;
  }
}

std::string_view kind_of(const os::FileFacts& facts) {
  if (facts.is_symbolic_link) return "a symbolic link";
  return facts.is_regular ? "a file" : "not a directory";
}

/// Describes an open directory; absent if it is not a snapshot.
std::optional<SnapshotListing> describe(int directory, const std::string& path,
                                        const std::string& name, bool with_dead_bytes) {
  SnapshotListing listing;
  listing.name = name;
  const auto names = os::list_directory(directory, path);
  if (!names) {
    listing.error = names.error();
    return listing;
  }
  if (!looks_like_snapshot(*names)) return std::nullopt;
  FileScan scan = files_below(directory, path);
  listing.files = std::move(scan.files);
  add_sizes(listing);
  SelfDescription(directory, path, *names, listing).run(with_dead_bytes);
  if (!listing.error) listing.error = std::move(scan.error);
  return listing;
}

}  // namespace

std::optional<SnapshotListing> summarize_snapshot(int store, const std::string& store_path,
                                                  const std::string& name, bool with_dead_bytes,
                                                  std::vector<std::string>& notes) {
  const std::string path = store_path + "/" + name;
  std::optional<SnapshotListing> listing;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const auto before = os::facts_of_name(store, name, path);
    if (!before) return std::nullopt;
    if (!before->is_directory) {
      notes.push_back(fmt::format("'{}' is {} and was not listed", path, kind_of(*before)));
      return std::nullopt;
    }
    const auto directory = os::open_at(store, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, path);
    if (directory) {
      listing = describe(directory->get(), path, name, with_dead_bytes);
    } else {
      listing.emplace();
      listing->name = name;
      listing->error = directory.error();
    }
    const auto after = os::facts_of_name(store, name, path);
    if (!after) return std::nullopt;
    // The snapshot was replaced, and its files were removed one by one meanwhile.
    if (after->same_file(*before)) break;
  }
  if (!listing && name != kLostAndFound) {
    notes.push_back(fmt::format("'{}' is not a snapshot and was not listed", path));
  }
  return listing;
}

std::optional<Uuid> pause_id_of(int directory, const std::string& path) {
  const auto facts = store::read_facts(directory, path);
  if (facts && *facts) return (*facts)->pause_id;
  const auto header = store::read_header(directory, path);
  if (!header) return std::nullopt;
  return header->pause_id.is_nil() ? header->build_id : header->pause_id;
}

}  // namespace lamina::operations
