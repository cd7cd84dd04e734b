#include "vmm/cloud_hypervisor/vm_state.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "vmm/cloud_hypervisor/json_text.h"
#include "vmm/cloud_hypervisor/vm_configuration.h"

namespace lamina::vmm {
namespace {

constexpr std::uint64_t kFormVersion = 1;
constexpr std::string_view kBeginning = R"({"cloud_hypervisor":)";

std::string_view text_from(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The data of a component's snapshot: since release 23 a text that is JSON.
Result<OrderedJson> data_of(const OrderedJson& snapshot, std::string_view what) {
  const OrderedJson& data = member(snapshot, "snapshot_data");
  const std::string text = text_of(member(data, "state"));
  if (!text.empty()) return parse_json_object(text, what);
  return fail(ErrorKind::kUnsupported, "{} is missing or of another form than lamina knows", what);
}

Result<OrderedJson> memory_manager_of(const OrderedJson& state) {
  return data_of(member(member(state, "snapshots"), "memory-manager"),
                 "the memory manager's state in state.json");
}

/// Whether `memory-ranges`, as the memory manager's state describes it, is the memory file.
Status check_ranges(const OrderedJson& memory_manager, const MemoryLayout& layout) {
  const OrderedJson& ranges = member(member(memory_manager, "memory_ranges"), "data");
  std::vector<std::pair<std::uint64_t, std::uint64_t>> found;
  if (ranges.is_array()) {
    found.reserve(ranges.size());
    for (const OrderedJson& range : ranges) {
      found.emplace_back(number_of(member(range, "gpa")).value_or(UINT64_MAX),
                         number_of(member(range, "length")).value_or(0));
    }
  }
  std::vector<std::pair<std::uint64_t, std::uint64_t>> expected;
  expected.reserve(layout.mappings.size());
  for (const RamMapping& mapping : layout.mappings) {
    expected.emplace_back(mapping.guest_address, mapping.size_bytes);
  }
  if (found == expected) return {};
  return fail(ErrorKind::kUnsupported,
              "state.json says that memory-ranges has {} ranges which are not the {} of the VM's "
              "memory in the order of their addresses",
              found.size(), expected.size());
}

}  // namespace

std::string encode_saved_vm(const SavedVm& vm) {
  const OrderedJson json = {{"cloud_hypervisor", kFormVersion},
                            {"vmm_version", vm.vmm_version},
                            {"config", vm.config},
                            {"state", vm.state}};
  return dump_json(json);
}

bool is_saved_vm(std::span<const std::byte> bytes) {
  return text_from(bytes).starts_with(kBeginning);
}

Result<SavedVm> decode_saved_vm(std::span<const std::byte> bytes) {
  if (!is_saved_vm(bytes)) {
    return fail(ErrorKind::kUnsupported, "the VM state is not a Cloud Hypervisor VM's");
  }
  LAMINA_ASSIGN_OR_RETURN(const OrderedJson json,
                          parse_json_object(text_from(bytes), "the VM state"));
  const auto version = number_of(member(json, "cloud_hypervisor"));
  if (version != kFormVersion) {
    return fail(ErrorKind::kUnsupported, "the VM state is of version {}, lamina knows version {}",
                version.value_or(0), kFormVersion);
  }
  SavedVm vm{text_of(member(json, "vmm_version")), text_of(member(json, "config")),
             text_of(member(json, "state"))};
  if (vm.config.empty() || vm.state.empty()) {
    return fail(ErrorKind::kCorrupt, "the VM state lacks its configuration or its devices");
  }
  return vm;
}

Result<SnapshotFiles> to_snapshot_files(const SavedVm& vm) {
  LAMINA_ASSIGN_OR_RETURN(const MemoryLayout layout, decode_layout(vm.config));
  LAMINA_ASSIGN_OR_RETURN(OrderedJson config, parse_json_object(vm.config, "the configuration"));
  LAMINA_ASSIGN_OR_RETURN(const OrderedJson state, parse_json_object(vm.state, "the state"));
  LAMINA_ASSIGN_OR_RETURN(const OrderedJson memory_manager, memory_manager_of(state));
  LAMINA_RETURN_IF_ERROR(check_ranges(memory_manager, layout));
  if (!member(config, "vm_config").is_object()) {
    return fail(ErrorKind::kCorrupt, "the configuration has no 'vm_config'");
  }
  OrderedJson& vm_config = config["vm_config"];
  if (member(member(vm_config, "memory"), "zones").is_array()) {
    for (OrderedJson& zone : vm_config["memory"]["zones"]) {
      if (!zone.is_object() || is_true(member(zone, "shared"))) continue;
      // Shared, so that the VM can be handed over again.
      zone["file"] = nullptr;
      zone["shared"] = true;
    }
  }
  return SnapshotFiles{dump_json(vm_config), vm.state};
}

Result<SavedVm> from_snapshot_files(const SnapshotFiles& files) {
  if (!is_utf8(files.state) || !is_utf8(files.config)) {
    return fail(ErrorKind::kCorrupt, "config.json or state.json is not UTF-8");
  }
  LAMINA_ASSIGN_OR_RETURN(const OrderedJson vm_config,
                          parse_json_object(files.config, "config.json"));
  LAMINA_ASSIGN_OR_RETURN(const OrderedJson state, parse_json_object(files.state, "state.json"));
  LAMINA_ASSIGN_OR_RETURN(OrderedJson memory_manager, memory_manager_of(state));
  OrderedJson config = {{"vm_config", vm_config}};
  if (const auto vm = data_of(state, "the VM's state in state.json")) {
    const OrderedJson& cpuid = member(*vm, "common_cpuid");
    if (!cpuid.is_null()) config["common_cpuid"] = cpuid;
  }
  config["memory_manager_data"] = memory_manager;
  std::string text = dump_json(config);
  LAMINA_ASSIGN_OR_RETURN(const MemoryLayout layout, decode_layout(text));
  LAMINA_RETURN_IF_ERROR(check_ranges(memory_manager, layout));
  return SavedVm{{}, std::move(text), files.state};
}

}  // namespace lamina::vmm
