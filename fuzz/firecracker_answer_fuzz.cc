// Bodies of Firecracker's answers: whatever they are, what is shown of them is short and has no
// control characters, and what is taken for a size can be computed with.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/block.h"
#include "vmm/firecracker/messages.h"
#include "vmm/firecracker/version.h"

namespace {

constexpr std::size_t kMaxShownBytes = 4096;

void check_shown(std::string_view text) {
  if (text.size() > kMaxShownBytes) std::abort();
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lamina::vmm;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string fault = decode_fault(bytes);
  if (fault.empty()) std::abort();
  check_shown(fault);
  if (const auto info = decode_instance_info(bytes)) {
    check_shown(info->id);
    check_shown(info->version);
    static_cast<void>(parse_version(info->version));
  }
  if (const auto hotplug_mib = decode_hotplug_memory_mib(bytes)) {
    const std::uint64_t memory_bytes = *hotplug_mib << 20;
    if (memory_bytes == 0 || lamina::blocks_for(memory_bytes) > lamina::kMaxBlocks) std::abort();
  }
  if (const auto config = decode_machine_config(bytes)) {
    const std::uint64_t memory_bytes = config->memory_mib << 20;
    if (memory_bytes == 0 || lamina::blocks_for(memory_bytes) > lamina::kMaxBlocks) std::abort();
    check_shown(config->huge_pages);
  }
  return 0;
}
