// Most extents of a real chain are short, and their storage follows from the extents before: in a
// compact layer an extent begins where the layer's previous one ended, or a few blocks later if a
// younger layer has replaced what was between; in an adopted layer its storage is as far from its
// guest block as before. So an extent is a byte of layer and rule, a byte of length, and seldom
// more.
//
// The two bytes are columns of fixed width, so that writing them needs no branch that depends on
// the data, as a varint for each number would.
#include "format/compact_extents.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/block.h"
#include "base/bytes.h"
#include "base/error.h"

namespace lamina::format {
namespace {

using mapping::Extent;
using mapping::LayerIndex;
using mapping::Mapping;

/// How the storage block of an extent follows from the previous extent of its layer.
enum Rule : std::uint8_t {
  kFollows = 0,   ///< it begins where that one ended; the first one at 0
  kDistance = 1,  ///< storage block - guest block is as in that one; in the first one 0
  kSkips = 2,     ///< as kFollows, and one byte more: the number of blocks between
  kStated = 3,    ///< it is stated in 4 bytes
};

constexpr unsigned kRuleBits = 2;
constexpr std::uint32_t kRuleMask = (1U << kRuleBits) - 1;
/// Larger layer indices are stated in 2 bytes.
constexpr std::uint32_t kStatedLayer = 63;
constexpr std::uint32_t kMaxShortLength = 255;
constexpr std::uint32_t kMaxSkip = 255;
constexpr std::array<std::size_t, 4> kStorageBytes = {0, 0, 1, 4};
/// Most bytes that an extent has beside its two.
constexpr std::size_t kMaxStatedBytes =
    sizeof(LayerIndex) + sizeof(std::uint32_t) + sizeof(std::uint32_t);
/// What so many extents state is gathered before it is appended.
constexpr std::size_t kBatchExtents = 256;

/// What the storage of a layer's next extent is derived from. All sums are modulo 2^32.
struct LayerState {
  std::uint32_t next = 0;      ///< where the previous extent ended
  std::uint32_t distance = 0;  ///< storage block - guest block of the previous extent

  void pass(const Extent& extent) {
    next = extent.storage_block + extent.block_count;
    distance = extent.storage_block - extent.guest_block;
  }
};

Rule rule_for(const Extent& extent, const LayerState& state) {
  const std::uint32_t skipped = extent.storage_block - state.next;
  const Rule far = skipped <= kMaxSkip ? kSkips : kStated;
  const Rule near = extent.storage_block - extent.guest_block == state.distance ? kDistance : far;
  return skipped == 0 ? kFollows : near;
}

/// The storage block of an extent of `layer` that begins at `start`.
std::uint32_t read_storage(ByteReader& stated, std::uint32_t rule, const LayerState& state,
                           std::uint32_t start) {
  switch (rule) {
    case kFollows:
      return state.next;
    case kDistance:
      return start + state.distance;
    case kSkips:
      return state.next + stated.get<std::uint8_t>();
    default:
      return stated.get<std::uint32_t>();
  }
}

}  // namespace

std::vector<std::byte> encode_compact_extents(const Mapping& mapping) {
  const std::size_t count = mapping.extent_count();
  std::vector<LayerState> states(mapping.layers().size() + 1);
  std::vector<std::byte> section;
  section.reserve(3 * count + kMaxStatedBytes);
  section.resize(2 * count);
  std::array<std::byte, kBatchExtents> tags{};
  std::array<std::byte, kBatchExtents> lengths{};
  // Each number is written whole, and the next one over what is too much of it.
  std::array<std::byte, kBatchExtents * kMaxStatedBytes + sizeof(std::uint32_t)> stated{};
  for (std::size_t first = 0; first < count; first += kBatchExtents) {
    const std::size_t batch = std::min(kBatchExtents, count - first);
    std::size_t used = 0;
    const auto state_number = [&](std::uint32_t value, std::size_t size) {
      std::memcpy(stated.data() + used, &value, sizeof(value));
      used += size;
    };
    for (std::size_t i = 0; i < batch; ++i) {
      const Extent extent = mapping.extent(first + i);
      const bool is_zeros = extent.layer == mapping::kZeros;
      LayerState& state = states[extent.layer];
      const Rule rule = is_zeros ? kFollows : rule_for(extent, state);
      const std::uint32_t code = std::min<std::uint32_t>(extent.layer, kStatedLayer);
      const bool is_short = extent.block_count <= kMaxShortLength;
      tags[i] = static_cast<std::byte>(code << kRuleBits | rule);
      lengths[i] = static_cast<std::byte>(is_short ? extent.block_count : 0);
      state_number(extent.layer, code == kStatedLayer ? sizeof(LayerIndex) : 0);
      state_number(rule == kSkips ? extent.storage_block - state.next : extent.storage_block,
                   kStorageBytes[rule]);
      state_number(extent.block_count, is_short ? 0 : sizeof(std::uint32_t));
      // The state of zeros is not used.
      state.pass(extent);
    }
    std::memcpy(section.data() + first, tags.data(), batch);
    std::memcpy(section.data() + count + first, lengths.data(), batch);
    section.insert(section.end(), stated.begin(),
                   stated.begin() + static_cast<std::ptrdiff_t>(used));
  }
  return section;
}

Result<std::vector<Extent>> decode_compact_extents(std::span<const std::byte> section,
                                                   std::uint32_t count, std::size_t layer_count,
                                                   std::uint32_t block_count) {
  if (count > kMaxCompactExtents || count > section.size() / kMinCompactExtentBytes) {
    return fail(ErrorKind::kCorrupt, "the header has {} extents in {} bytes; each has at least {}",
                count, section.size(), kMinCompactExtentBytes);
  }
  const auto tags = section.first(count);
  const auto lengths = section.subspan(count, count);
  ByteReader stated(section.subspan(std::size_t{2} * count));
  std::vector<LayerState> states(layer_count + 1);
  std::vector<Extent> extents;
  extents.reserve(count);
  std::uint32_t start = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto tag = std::to_integer<std::uint32_t>(tags[i]);
    const std::uint32_t rule = tag & kRuleMask;
    std::uint32_t layer = tag >> kRuleBits;
    if (layer == kStatedLayer) layer = stated.get<LayerIndex>();
    if (layer > layer_count) {
      return fail(ErrorKind::kCorrupt, "extent {} names layer {} of {}", i, layer, layer_count);
    }
    if (layer == mapping::kZeros && tag != 0) {
      return fail(ErrorKind::kCorrupt, "extent {} is zeros but has tag {:#x}", i, tag);
    }
    LayerState& state = states[layer];
    Extent extent{start, 0, static_cast<LayerIndex>(layer), 0};
    if (layer != mapping::kZeros) extent.storage_block = read_storage(stated, rule, state, start);
    const auto length = std::to_integer<std::uint32_t>(lengths[i]);
    extent.block_count = length != 0 ? length : stated.get<std::uint32_t>();
    if (extent.block_count == 0 || extent.block_count > block_count - start) {
      return fail(ErrorKind::kCorrupt, "extent {} at {:#x} has {} blocks; {} are left", i,
                  start * kBlockBytes, extent.block_count, block_count - start);
    }
    start += extent.block_count;
    if (layer != mapping::kZeros) state.pass(extent);
    extents.push_back(extent);
  }
  if (!stated.ok() || stated.remaining() != 0) {
    return fail(ErrorKind::kCorrupt, "the header's extents need {} {} bytes",
                stated.ok() ? "fewer than" : "more than", section.size());
  }
  if (start != block_count) {
    return fail(ErrorKind::kCorrupt, "the extents end at {:#x}, before the memory's end {:#x}",
                start * kBlockBytes, block_count * kBlockBytes);
  }
  return extents;
}

}  // namespace lamina::format
