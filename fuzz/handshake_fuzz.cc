// The regions that a peer sends: whatever the text, they fit the memory and do not overlap.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/block.h"
#include "pager/regions.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lamina::pager;
  constexpr std::uint64_t kMemoryBytes = std::uint64_t{3} << 30;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto table = RegionTable::decode(text, kMemoryBytes);
  if (!table) return 0;
  std::uint64_t end = 0;
  for (const Region& region : table->regions()) {
    if (region.host_address < end || region.size_bytes == 0 ||
        region.memory_offset + region.size_bytes > kMemoryBytes) {
      std::abort();
    }
    end = region.host_end();
    const auto block = static_cast<std::uint32_t>(region.memory_offset / lamina::kBlockBytes);
    if (table->find(region.host_address) != &region || table->find_block(block) == nullptr) {
      std::abort();
    }
  }
  return 0;
}
