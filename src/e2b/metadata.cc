#include "e2b/metadata.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/bitmap.h"
#include "base/block.h"
#include "base/error.h"

namespace lamina::e2b {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMetadataVersion = 2;
/// Writing JSON takes stack in proportion to its depth.
constexpr int kMaxDepth = 100;
constexpr std::uint64_t kMaxPageBytes = std::uint64_t{1} << 30;

Result<Json> parse_object(std::span<const std::byte> bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  bool is_too_deep = false;
  const auto check_depth = [&is_too_deep](int depth, Json::parse_event_t /*event*/,
                                          const Json& /*parsed*/) {
    is_too_deep = is_too_deep || depth > kMaxDepth;
    return !is_too_deep;
  };
  Json json = Json::parse(begin, begin + bytes.size(), check_depth, false);
  if (is_too_deep) {
    return fail(ErrorKind::kCorrupt, "it is nested more than {} times", kMaxDepth);
  }
  if (json.is_object()) return json;
  return fail(ErrorKind::kCorrupt, "it is not a JSON object");
}

/// Collects blocks in the order of first mention.
class WorkingSetBuilder {
 public:
  explicit WorkingSetBuilder(std::uint64_t memory_bytes)
      : block_count_(blocks_for(memory_bytes)), seen_(block_count_ / kBitsPerWord + 1) {
    set_.memory_bytes = memory_bytes;
  }

  void add(std::uint64_t first, std::uint64_t count) {
    if (first >= block_count_) return;
    const std::uint64_t end = std::min(first + count, block_count_);
    for (std::uint64_t block = first; block < end; ++block) {
      if (is_bit_set(seen_, block)) continue;
      write_bits(seen_, block, block + 1, true);
      append(static_cast<std::uint32_t>(block));
    }
  }

  [[nodiscard]] std::optional<format::WorkingSet> take() {
    if (set_.runs.empty()) return std::nullopt;
    return std::move(set_);
  }

 private:
  void append(std::uint32_t block) {
    if (!set_.runs.empty() && set_.runs.back().end() == block) {
      ++set_.runs.back().count;
    } else if (set_.runs.size() < format::kMaxWorkingSetRuns) {
      set_.runs.push_back({block, 1});
    }
  }

  std::uint64_t block_count_;
  std::vector<std::uint64_t> seen_;
  format::WorkingSet set_;
};

Json prefetch_of(const format::WorkingSet& set, std::uint64_t block_bytes) {
  const std::uint64_t blocks_per_page = block_bytes / kBlockBytes;
  const std::uint64_t pages = blocks_for(set.memory_bytes) / blocks_per_page + 1;
  std::vector<std::uint64_t> seen(pages / kBitsPerWord + 1);
  Json indices = Json::array();
  Json types = Json::array();
  for (const BlockRun& run : set.runs) {
    if (run.count == 0) continue;
    const std::uint64_t last = (run.end() - 1) / blocks_per_page;
    for (std::uint64_t page = run.first / blocks_per_page; page <= last; ++page) {
      if (is_bit_set(seen, page)) continue;
      write_bits(seen, page, page + 1, true);
      indices.push_back(page);
      types.push_back("r");  // how a page was touched is not recorded
    }
  }
  return {{"indices", std::move(indices)},
          {"access_types", std::move(types)},
          {"block_size", block_bytes}};
}

}  // namespace

Result<std::optional<format::WorkingSet>> working_set_of(std::span<const std::byte> metadata,
                                                         std::uint64_t memory_bytes) {
  LAMINA_ASSIGN_OR_RETURN(const Json json, parse_object(metadata));
  const auto prefetch = json.find("prefetch");
  if (prefetch == json.end() || prefetch->is_null()) return std::nullopt;
  if (!prefetch->is_object()) return fail(ErrorKind::kCorrupt, "its prefetch is not an object");
  const auto memory = prefetch->find("memory");
  if (memory == prefetch->end() || memory->is_null()) return std::nullopt;
  if (!memory->is_object()) return fail(ErrorKind::kCorrupt, "its prefetch list is not an object");
  const auto indices = memory->find("indices");
  const auto page_bytes = memory->find("block_size");
  if (indices == memory->end() || indices->is_null()) return std::nullopt;
  if (!indices->is_array() || page_bytes == memory->end() || !page_bytes->is_number_unsigned()) {
    return fail(ErrorKind::kCorrupt, "its prefetch list has no indices or no block_size");
  }
  const auto bytes = page_bytes->get<std::uint64_t>();
  if (bytes == 0 || bytes > kMaxPageBytes || bytes % kBlockBytes != 0) {
    return fail(ErrorKind::kCorrupt, "its prefetch list has pages of {} bytes", bytes);
  }
  const std::uint64_t blocks_per_page = bytes / kBlockBytes;
  WorkingSetBuilder builder(memory_bytes);
  for (const Json& index : *indices) {
    if (!index.is_number_unsigned() || index.get<std::uint64_t>() > kMaxBlocks) {
      return fail(ErrorKind::kCorrupt, "its prefetch list has an index that no page has");
    }
    builder.add(index.get<std::uint64_t>() * blocks_per_page, blocks_per_page);
  }
  return builder.take();
}

Result<std::string> make_metadata(std::span<const std::byte> before, const Uuid& build,
                                  const std::optional<format::WorkingSet>& working_set,
                                  std::uint64_t block_bytes) {
  Json json = Json::object();
  if (before.empty()) {
    json["version"] = kMetadataVersion;
  } else {
    LAMINA_ASSIGN_OR_RETURN(json, parse_object(before));
  }
  Json& about = json["template"];
  if (!about.is_object()) about = Json::object();
  about["build_id"] = build.to_string();
  Json& prefetch = json["prefetch"];
  if (!prefetch.is_object()) prefetch = Json::object();
  prefetch.erase("memory");
  if (working_set) prefetch["memory"] = prefetch_of(*working_set, block_bytes);
  if (prefetch.empty()) json.erase("prefetch");
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lamina::e2b
