#include "pager/regions.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/block.h"
#include "base/checked.h"
#include "base/error.h"

namespace lamina::pager {
namespace {

using Json = nlohmann::json;

/// An unsigned field of a region; nullopt if it is missing or has another type.
std::optional<std::uint64_t> number(const Json& region, const char* name) {
  const auto found = region.find(name);
  if (found == region.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::uint64_t>();
}

Result<Region> decode_region(const Json& json, std::size_t index) {
  if (!json.is_object()) return fail(ErrorKind::kCorrupt, "region {} is not an object", index);
  const auto address = number(json, "base_host_virt_addr");
  const auto size = number(json, "size");
  const auto offset = number(json, "offset");
  auto page = number(json, "page_size");
  if (!page) page = number(json, "page_size_kib");
  if (!address || !size || !offset || !page) {
    return fail(ErrorKind::kCorrupt,
                "region {} lacks base_host_virt_addr, size, offset or page_size", index);
  }
  return Region{*address, *size, *offset, *page};
}

Status check_region(const Region& region, std::size_t index, std::uint64_t memory_bytes) {
  if (region.page_bytes != kBlockBytes && region.page_bytes != kHugePageBytes) {
    return fail(ErrorKind::kCorrupt, "region {} has pages of {} bytes; {} and {} are supported",
                index, region.page_bytes, kBlockBytes, kHugePageBytes);
  }
  const auto aligned = [&](std::uint64_t value) { return value % region.page_bytes == 0; };
  const auto host_end = checked_add(region.host_address, region.size_bytes);
  const auto memory_end = checked_add(region.memory_offset, region.size_bytes);
  if (region.size_bytes == 0 || !host_end || !memory_end || !aligned(region.host_address) ||
      !aligned(region.size_bytes) || region.memory_offset % kBlockBytes != 0) {
    return fail(
        ErrorKind::kCorrupt,
        "region {} at {:#x} has size {:#x} and offset {:#x}: empty, not aligned to its pages, "
        "or too large",
        index, region.host_address, region.size_bytes, region.memory_offset);
  }
  if (*memory_end > blocks_for(memory_bytes) * kBlockBytes) {
    return fail(ErrorKind::kCorrupt,
                "region {} ends at {:#x}, past the memory size {:#x}: the snapshot is of another "
                "VM",
                index, *memory_end, memory_bytes);
  }
  return {};
}

}  // namespace

Result<RegionTable> RegionTable::decode(std::string_view text, std::uint64_t memory_bytes) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!json.is_array() || json.empty() || json.size() > kMaxRegions) {
    return fail(ErrorKind::kCorrupt, "the handshake is not a JSON array of 1 to {} regions",
                kMaxRegions);
  }
  std::vector<Region> regions;
  for (std::size_t i = 0; i < json.size(); ++i) {
    LAMINA_ASSIGN_OR_RETURN(const Region region, decode_region(json[i], i));
    regions.push_back(region);
  }
  return create(std::move(regions), memory_bytes);
}

Result<RegionTable> RegionTable::create(std::vector<Region> regions, std::uint64_t memory_bytes) {
  for (std::size_t i = 0; i < regions.size(); ++i) {
    LAMINA_RETURN_IF_ERROR(check_region(regions[i], i, memory_bytes));
  }
  RegionTable table;
  table.regions_ = std::move(regions);
  std::sort(table.regions_.begin(), table.regions_.end(),
            [](const Region& a, const Region& b) { return a.host_address < b.host_address; });
  for (std::size_t i = 1; i < table.regions_.size(); ++i) {
    const Region& before = table.regions_[i - 1];
    if (before.host_end() > table.regions_[i].host_address) {
      return fail(ErrorKind::kCorrupt, "the regions at {:#x} and {:#x} overlap",
                  before.host_address, table.regions_[i].host_address);
    }
  }
  std::vector<Region> by_offset = table.regions_;
  std::sort(by_offset.begin(), by_offset.end(),
            [](const Region& a, const Region& b) { return a.memory_offset < b.memory_offset; });
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    // Blocks given back at one address would become zeros at the other.
    if (by_offset[i - 1].memory_offset + by_offset[i - 1].size_bytes > by_offset[i].memory_offset) {
      return fail(ErrorKind::kCorrupt, "the regions at {:#x} and {:#x} share memory at {:#x}",
                  by_offset[i - 1].host_address, by_offset[i].host_address,
                  by_offset[i].memory_offset);
    }
  }
  return table;
}

const Region* RegionTable::find(std::uint64_t host_address) const {
  for (const Region& region : regions_) {
    if (host_address >= region.host_address && host_address < region.host_end()) return &region;
  }
  return nullptr;
}

const Region* RegionTable::find_block(std::uint32_t block) const {
  const std::uint64_t offset = block * kBlockBytes;
  for (const Region& region : regions_) {
    if (offset >= region.memory_offset && offset - region.memory_offset < region.size_bytes) {
      return &region;
    }
  }
  return nullptr;
}

}  // namespace lamina::pager
