// Messages and JSON of a Cloud Hypervisor: any bytes give a value or an error, and what is accepted
// is consistent.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "check.h"
#include "vmm/cloud_hypervisor/migration_message.h"
#include "vmm/cloud_hypervisor/vm_configuration.h"
#include "vmm/cloud_hypervisor/vm_state.h"

using namespace lamina;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes = std::as_bytes(std::span(data, size));
  if (size >= vmm::kMigrationHeaderBytes) {
    const auto header = bytes.first<vmm::kMigrationHeaderBytes>();
    static_cast<void>(vmm::decode_answer(header));
    if (const auto request = vmm::decode_request(header)) {
      fuzz::check(vmm::decode_request(vmm::encode_request(*request)).value() == *request);
    }
  }
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(vmm::decode_vm_info(text));
  static_cast<void>(vmm::decode_ping(text));
  static_cast<void>(vmm::decode_api_error(text));
  static_cast<void>(vmm::decode_memory(text));
  if (const auto layout = vmm::decode_layout(text)) {
    std::uint64_t end = 0;
    for (const vmm::RamMapping& mapping : layout->mappings) {
      fuzz::check(mapping.image_offset == end);
      end += mapping.size_bytes;
    }
    fuzz::check(end == layout->memory_bytes);
    if (const auto changed = vmm::configure_resume(text, {.memory_file = "/m"})) {
      fuzz::check(vmm::decode_layout(*changed).has_value());
    }
  }
  if (const auto saved = vmm::decode_saved_vm(bytes)) {
    static_cast<void>(vmm::to_snapshot_files(*saved));
  }
  const std::size_t half = size / 2;
  static_cast<void>(vmm::from_snapshot_files(
      {std::string(text.substr(0, half)), std::string(text.substr(half))}));
  return 0;
}
