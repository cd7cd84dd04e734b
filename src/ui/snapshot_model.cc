#include "ui/snapshot_model.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "format/working_set.h"
#include "lamina/compact.h"
#include "lamina/snapshot.h"
#include "os/file.h"
#include "schema/report_json.h"
#include "ui/base64.h"

namespace lamina::ui {
namespace {

using schema::Json;

/// More would be tens of megabytes in the browser.
constexpr std::size_t kMaxExtents = std::size_t{1} << 20;
constexpr std::size_t kBlockNumberBytes = 4;
constexpr std::size_t kLayerNumberBytes = 2;

std::uint64_t slot_of(const ExtentInfo& extent) { return extent.layer ? *extent.layer + 1U : 0; }

void append_extent(std::vector<std::uint8_t>& bytes, std::uint64_t blocks, std::uint64_t slot,
                   std::uint64_t storage_block) {
  append_number(bytes, blocks, kBlockNumberBytes);
  append_number(bytes, slot, kLayerNumberBytes);
  append_number(bytes, storage_block, kBlockNumberBytes);
}

/// Runs of `window` blocks, each with the layer that holds most of it.
std::vector<std::uint8_t> coarse_extents(const SnapshotInfo& info, std::uint64_t window) {
  std::vector<std::uint8_t> bytes;
  std::map<std::uint64_t, std::uint64_t> use;  // slot, blocks
  std::uint64_t filled = 0;
  const auto finish = [&] {
    const auto most = std::max_element(
        use.begin(), use.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    append_extent(bytes, filled, most->first, 0);
    use.clear();
    filled = 0;
  };
  for (const ExtentInfo& extent : info.extents) {
    std::uint64_t left = blocks_for(extent.length_bytes);
    while (left > 0) {
      const std::uint64_t part = std::min(left, window - filled);
      use[slot_of(extent)] += part;
      filled += part;
      left -= part;
      if (filled == window) finish();
    }
  }
  if (filled > 0) finish();
  return bytes;
}

std::vector<std::uint8_t> exact_extents(const SnapshotInfo& info) {
  std::vector<std::uint8_t> bytes;
  bytes.reserve(info.extents.size() * (2 * kBlockNumberBytes + kLayerNumberBytes));
  for (const ExtentInfo& extent : info.extents) {
    append_extent(bytes, blocks_for(extent.length_bytes), slot_of(extent),
                  extent.storage_offset_bytes / kBlockBytes);
  }
  return bytes;
}

Json working_set_json(const std::string& path) {
  const std::string file = path + "/working-set";
  const auto bytes = os::read_if_exists(AT_FDCWD, file, format::max_working_set_bytes(), file);
  if (!bytes || !*bytes) return nullptr;
  const auto decoded = format::decode_working_set(**bytes);
  if (!decoded) return nullptr;
  std::vector<std::uint8_t> numbers;
  numbers.reserve(decoded->runs.size() * 2 * kBlockNumberBytes);
  for (const BlockRun& run : decoded->runs) {
    append_number(numbers, run.first, kBlockNumberBytes);
    append_number(numbers, run.count, kBlockNumberBytes);
  }
  return base64(numbers);
}

/// The snapshots of the store that this one descends from, and itself.
Json line_json(const StoreListing& listing, const SnapshotListing& snapshot) {
  std::vector<Uuid> ids;
  ids.reserve(snapshot.ancestors.size() + 1);
  if (snapshot.pause_id) ids.push_back(*snapshot.pause_id);
  ids.insert(ids.end(), snapshot.ancestors.begin(), snapshot.ancestors.end());
  std::map<Uuid, const SnapshotListing*> by_id;
  for (const SnapshotListing& one : listing.snapshots) {
    if (one.pause_id) by_id.emplace(*one.pause_id, &one);
  }
  if (snapshot.pause_id) by_id[*snapshot.pause_id] = &snapshot;
  Json line = Json::array();
  for (const Uuid& id : ids) {
    const auto found = by_id.find(id);
    if (found == by_id.end()) continue;
    const SnapshotListing& one = *found->second;
    line.push_back(Json{{"name", one.name},
                        {"pause_id", id.to_string()},
                        {"created", one.created},
                        {"pause", one.pause ? schema::to_json(*one.pause) : Json(nullptr)}});
  }
  return line;
}

}  // namespace

Result<std::string> path_of_snapshot(const std::string& store, const std::string& name) {
  constexpr std::size_t kMaxNameBytes = 255;
  if (name.empty() || name.starts_with('.') || name.size() > kMaxNameBytes ||
      name.find('/') != std::string::npos) {
    return fail(ErrorKind::kUsage, "'{}' is not a name for a snapshot", name);
  }
  return store + "/" + name;
}

Result<Json> snapshot_json(const StoreListing& listing, const std::string& name) {
  LAMINA_ASSIGN_OR_RETURN(const std::string path, path_of_snapshot(listing.path, name));
  LAMINA_ASSIGN_OR_RETURN(const SnapshotInfo info, inspect(path));
  const auto listed =
      std::find_if(listing.snapshots.begin(), listing.snapshots.end(),
                   [&name](const SnapshotListing& one) { return one.name == name; });
  Json document = {{"name", name}, {"info", schema::to_json(schema::answer_of(info, false))}};
  const bool is_coarse = info.extents.size() > kMaxExtents;
  std::uint64_t window = 1;
  while (is_coarse && blocks_for(info.memory_bytes) / window > kMaxExtents) window *= 2;
  document["coarse_blocks"] = window;
  document["extents"] = base64(is_coarse ? coarse_extents(info, window) : exact_extents(info));
  document["working_set"] = working_set_json(path);
  document["pause"] = document["info"]["pause"];
  document["line"] =
      listed == listing.snapshots.end() ? Json::array() : line_json(listing, *listed);
  return document;
}

Result<Json> merge_json(const std::string& store, const std::string& name) {
  LAMINA_ASSIGN_OR_RETURN(const std::string path, path_of_snapshot(store, name));
  Json plans = Json::array();
  for (const char* policy : {kDefaultMergePolicy, "full:cap=2"}) {
    CompactOptions options;
    options.snapshot = path;
    options.policy = policy;
    options.dry_run = true;
    LAMINA_ASSIGN_OR_RETURN(const CompactReport report, compact(options));
    plans.push_back(schema::to_json(schema::CompactAnswer{report, true, 0}));
  }
  return plans;
}

Result<Json> block_json(const std::string& store, const std::string& name,
                        std::uint64_t offset_bytes) {
  LAMINA_ASSIGN_OR_RETURN(const std::string path, path_of_snapshot(store, name));
  LAMINA_ASSIGN_OR_RETURN(const SnapshotReader reader, SnapshotReader::open(path));
  if (offset_bytes >= reader.memory_bytes()) {
    return fail(ErrorKind::kUsage, "offset {} is not in the memory of {} bytes", offset_bytes,
                reader.memory_bytes());
  }
  const std::uint64_t start = offset_bytes / kBlockBytes * kBlockBytes;
  std::array<std::byte, kBlockBytes> block{};
  const auto bytes =
      std::span(block).first(std::min<std::uint64_t>(kBlockBytes, reader.memory_bytes() - start));
  if (const Status read = reader.read(start, bytes); !read) {
    if (read.error().kind != ErrorKind::kCorrupt) return std::unexpected(read.error());
    return Json{{"state", "corrupt"}, {"message", read.error().message}};
  }
  const auto& extents = reader.info().extents;
  const auto after = std::upper_bound(
      extents.begin(), extents.end(), start,
      [](std::uint64_t offset, const ExtentInfo& extent) { return offset < extent.offset_bytes; });
  const auto& layer = std::prev(after)->layer;
  const bool is_checked = !layer || reader.info().layers[*layer].has_checksums.value_or(false);
  const bool is_zero =
      std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
  return Json{{"state", is_checked ? "correct" : "unchecked"}, {"is_zero", is_zero}};
}

}  // namespace lamina::ui
