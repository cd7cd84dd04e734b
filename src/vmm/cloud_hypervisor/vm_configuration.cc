#include "vmm/cloud_hypervisor/vm_configuration.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>

#include "base/block.h"
#include "base/error.h"
#include "base/utf8.h"
#include "vmm/cloud_hypervisor/host_paths.h"
#include "vmm/cloud_hypervisor/json_text.h"

namespace lamina::vmm {
namespace {

constexpr std::size_t kMaxMappings = 4096;
constexpr std::size_t kMaxErrorBytes = 4096;
constexpr std::uint64_t kMaxMemoryBytes = kMaxBlocks * kBlockBytes;
constexpr const char* kConfigMessage = "the Config message";

std::unexpected<Error> bad_member(std::string_view what, const char* name) {
  return fail(ErrorKind::kCorrupt, "'{}' of {} is missing or wrong", name, what);
}

Result<RamMapping> decode_mapping(const OrderedJson& json) {
  const auto slot = number_of(member(json, "slot"));
  const auto gpa = number_of(member(json, "gpa"));
  const auto size = number_of(member(json, "size"));
  const auto offset = number_of(member(json, "file_offset"));
  const OrderedJson& zone = member(json, "zone_id");
  const bool is_bounded = slot && *slot <= UINT32_MAX && size && *size > 0 &&
                          *size <= kMaxMemoryBytes && gpa && *gpa <= UINT64_MAX - *size && offset &&
                          *offset <= INT64_MAX - *size;
  if (!is_bounded || !zone.is_string() || (*size | *gpa | *offset) % kBlockBytes != 0) {
    return bad_member(kConfigMessage, "guest_ram_mappings");
  }
  return RamMapping{static_cast<std::uint32_t>(*slot), *gpa, *size, *offset,
                    zone.get<std::string>(),           0};
}

/// Sorts by guest address and gives each its place in the memory file.
Result<MemoryLayout> arrange(std::vector<RamMapping> mappings) {
  std::sort(mappings.begin(), mappings.end(), [](const RamMapping& a, const RamMapping& b) {
    return a.guest_address < b.guest_address;
  });
  MemoryLayout layout;
  std::uint64_t end = 0;
  for (RamMapping& mapping : mappings) {
    if (mapping.guest_address < end || mapping.size_bytes > kMaxMemoryBytes - layout.memory_bytes) {
      return fail(ErrorKind::kCorrupt, "the ranges of the VM's memory overlap at {:#x}",
                  mapping.guest_address);
    }
    end = mapping.guest_address + mapping.size_bytes;
    mapping.image_offset = layout.memory_bytes;
    layout.memory_bytes += mapping.size_bytes;
  }
  layout.mappings = std::move(mappings);
  return layout;
}

Result<MemoryLayout> layout_of(const OrderedJson& config) {
  const OrderedJson& list = member(member(config, "memory_manager_data"), "guest_ram_mappings");
  if (!list.is_array() || list.empty() || list.size() > kMaxMappings) {
    return bad_member(kConfigMessage, "guest_ram_mappings");
  }
  std::vector<RamMapping> mappings;
  mappings.reserve(list.size());
  for (const OrderedJson& json : list) {
    LAMINA_ASSIGN_OR_RETURN(RamMapping mapping, decode_mapping(json));
    mappings.push_back(std::move(mapping));
  }
  return arrange(std::move(mappings));
}

bool is_positive(const OrderedJson& value) { return number_of(value).value_or(0) > 0; }

/// Adds a zone that is on huge pages. False if their size is none.
bool add_huge_zone(const OrderedJson& zone, std::string id, std::vector<HugeZone>& zones) {
  if (!is_true(member(zone, "hugepages"))) return true;
  const OrderedJson& size = member(zone, "hugepage_size");
  const auto bytes = size.is_null() ? std::optional<std::uint64_t>(0) : number_of(size);
  if (!bytes || (*bytes != 0 && (!std::has_single_bit(*bytes) || *bytes <= kBlockBytes))) {
    return false;
  }
  zones.push_back({std::move(id), *bytes});
  return true;
}

/// Of a zone, or of the memory of a VM without zones.
std::string why_not_captured(const OrderedJson& memory, const std::string& name) {
  const bool is_huge = is_true(member(memory, "hugepages"));
  if (is_huge && member(memory, "file").is_string()) {
    return fmt::format(
        "{} is a file on huge pages, which is not supported; start the VM with hugepages=on and "
        "without file",
        name);
  }
  if (is_positive(member(memory, "hotplug_size"))) {
    return fmt::format("{} is hotpluggable, which is not supported", name);
  }
  const bool has_file = is_huge || member(memory, "file").is_string();
  if (has_file || is_true(member(memory, "shared"))) return {};
  return fmt::format(
      "{} is private and anonymous, and Cloud Hypervisor ends when such memory is handed over; "
      "start the VM with --memory shared=on, or with a zone that has a file",
      name);
}

Result<MemoryConfiguration> memory_of(const OrderedJson& vm_config, std::string_view what) {
  const OrderedJson& memory = member(vm_config, "memory");
  const auto size = number_of(member(memory, "size"));
  if (!size) return bad_member(what, "memory.size");
  MemoryConfiguration found;
  const OrderedJson& zones = member(memory, "zones");
  if (!zones.is_array() || zones.empty()) {
    found.memory_bytes = *size;
    found.obstacle = why_not_captured(memory, "its memory");
    if (!add_huge_zone(memory, "", found.huge_zones)) {
      return bad_member(what, "memory.hugepage_size");
    }
    return found;
  }
  if (is_positive(member(memory, "hotplug_size"))) {
    found.obstacle = "its memory is hotpluggable, which is not supported";
  }
  for (const OrderedJson& zone : zones) {
    const std::string id = text_of(member(zone, "id"));
    const auto bytes = number_of(member(zone, "size"));
    if (!bytes || *bytes > kMaxMemoryBytes - std::min(found.memory_bytes, kMaxMemoryBytes)) {
      return bad_member(what, "memory.zones");
    }
    found.memory_bytes += *bytes;
    if (found.obstacle.empty()) {
      found.obstacle = why_not_captured(zone, fmt::format("memory zone '{}'", printable(id)));
    }
    if (!add_huge_zone(zone, id, found.huge_zones)) {
      return bad_member(what, "memory.zones.hugepage_size");
    }
    const std::string file = text_of(member(zone, "file"));
    if (!file.empty() && !is_true(member(zone, "shared"))) found.file_zones.push_back({id, file});
  }
  return found;
}

Result<std::string> encode_url(const char* field, const std::string& path,
                               const OrderedJson& body) {
  if (!is_utf8(path) || path.contains('\0')) {
    return fail(ErrorKind::kUsage, "the socket path '{}' is not UTF-8; choose another",
                printable(path));
  }
  OrderedJson json = {{field, "unix:" + path}};
  json.update(body);
  return dump_json(json);
}

/// Devices whose back ends map the guest's memory: they would not see private pages.
std::string device_that_needs_shared_memory(const OrderedJson& vm_config) {
  for (const char* kind : {"disks", "net"}) {
    const OrderedJson& devices = member(vm_config, kind);
    if (!devices.is_array()) continue;
    for (const OrderedJson& device : devices) {
      if (is_true(member(device, "vhost_user"))) {
        return fmt::format("'{}' of `{}`", printable(text_of(member(device, "id"))), kind);
      }
    }
  }
  for (const char* kind : {"fs", "user_devices", "devices", "vdpa", "generic_vhost_user"}) {
    const OrderedJson& devices = member(vm_config, kind);
    if (devices.is_array() && !devices.empty()) return fmt::format("`{}`", kind);
  }
  return {};
}

Status set_network(OrderedJson& vm_config, const std::string& id, const std::string& tap) {
  if (vm_config.contains("net") && vm_config["net"].is_array()) {
    for (OrderedJson& device : vm_config["net"]) {
      if (text_of(member(device, "id")) != id) continue;
      device["tap"] = tap;
      return {};
    }
  }
  return fail(ErrorKind::kUsage, "the VM has no network device '{}'", id);
}

/// The zones that the ranges are in, each with all that its ranges have.
OrderedJson zones_of(const MemoryLayout& layout, const std::string& file) {
  OrderedJson zones = OrderedJson::array();
  for (const RamMapping& mapping : layout.mappings) {
    const auto known = std::find_if(zones.begin(), zones.end(), [&](const OrderedJson& zone) {
      return text_of(member(zone, "id")) == mapping.zone;
    });
    if (known != zones.end()) {
      (*known)["size"] = number_of(member(*known, "size")).value_or(0) + mapping.size_bytes;
    } else {
      zones.push_back({{"id", mapping.zone},
                       {"size", mapping.size_bytes},
                       {"file", file},
                       {"shared", false},
                       {"hugepages", false},
                       {"hugepage_size", nullptr},
                       {"host_numa_node", nullptr},
                       {"hotplug_size", nullptr},
                       {"hotplugged_size", nullptr},
                       {"prefault", false}});
    }
  }
  return zones;
}

/// All memory is handed over in memfds: no zone has a file of its own.
void share_zones(OrderedJson& memory) {
  if (!memory.contains("zones") || !memory["zones"].is_array()) return;
  for (OrderedJson& zone : memory["zones"]) {
    if (!zone.is_object() || is_true(member(zone, "hugepages"))) continue;
    zone["file"] = nullptr;
    zone["shared"] = true;
  }
}

}  // namespace

const HugeZone* MemoryConfiguration::huge_zone_of(std::string_view id) const {
  for (const HugeZone& zone : huge_zones) {
    if (zone.id.empty() || zone.id == id) return &zone;
  }
  return nullptr;
}

Result<MemoryLayout> decode_layout(std::string_view config) {
  LAMINA_ASSIGN_OR_RETURN(const OrderedJson json, parse_json_object(config, kConfigMessage));
  return layout_of(json);
}

Result<MemoryConfiguration> decode_memory(std::string_view config) {
  LAMINA_ASSIGN_OR_RETURN(const OrderedJson json, parse_json_object(config, kConfigMessage));
  return memory_of(member(json, "vm_config"), kConfigMessage);
}

Result<VmInfo> decode_vm_info(std::string_view body) {
  constexpr const char* kAnswer = "the answer to vm.info";
  LAMINA_ASSIGN_OR_RETURN(const OrderedJson json, parse_json_object(body, kAnswer));
  const std::string state = text_of(member(json, "state"));
  VmInfo info;
  if (state == "Running") {
    info.state = VmState::kRunning;
  } else if (state == "Paused" || state == "BreakPoint") {
    info.state = VmState::kPaused;
  } else if (state != "Created" && state != "Shutdown") {
    return bad_member(kAnswer, "state");
  }
  LAMINA_ASSIGN_OR_RETURN(info.memory, memory_of(member(json, "config"), kAnswer));
  return info;
}

Result<std::string> decode_ping(std::string_view body) {
  constexpr const char* kAnswer = "the answer to vmm.ping";
  LAMINA_ASSIGN_OR_RETURN(const OrderedJson json, parse_json_object(body, kAnswer));
  std::string version = printable(text_of(member(json, "version")));
  if (version.empty()) return bad_member(kAnswer, "version");
  return version;
}

std::string decode_api_error(std::string_view body) {
  const OrderedJson json = OrderedJson::parse(body.substr(0, kMaxErrorBytes), nullptr, false);
  std::string text;
  if (json.is_array()) {
    for (const OrderedJson& part : json) {
      if (!part.is_string()) continue;
      if (!text.empty()) text += ": ";
      text += part.get<std::string>();
    }
  }
  text = printable(text.empty() ? body : std::string_view(text));
  return text.empty() ? "no reason given" : text;
}

Result<std::string> encode_send_migration(const std::string& socket_path) {
  return encode_url("destination_url", socket_path, {{"local", true}});
}

Result<std::string> encode_receive_migration(const std::string& socket_path) {
  return encode_url("receiver_url", socket_path, {{"memory_mode", "Precopy"}});
}

Result<std::string> configure_resume(std::string_view config, const ResumeConfiguration& change) {
  LAMINA_ASSIGN_OR_RETURN(OrderedJson json, parse_json_object(config, kConfigMessage));
  LAMINA_ASSIGN_OR_RETURN(const MemoryLayout layout, layout_of(json));
  if (!json.contains("vm_config") || !json["vm_config"].is_object() ||
      !member(json["vm_config"], "memory").is_object()) {
    return bad_member(kConfigMessage, "vm_config");
  }
  OrderedJson& vm_config = json["vm_config"];
  const std::string device = device_that_needs_shared_memory(vm_config);
  if (!device.empty()) {
    return fail(ErrorKind::kUnsupported,
                "the VM has a device outside of Cloud Hypervisor ({}), which needs shared memory, "
                "and whose own state is in no snapshot",
                device);
  }
  const bool is_in_memfds = change.memory_file.empty();
  OrderedJson& memory = vm_config["memory"];
  if (is_in_memfds) {
    share_zones(memory);
  } else {
    memory["size"] = 0;
    memory["shared"] = true;
    memory["hugepages"] = false;
    memory["zones"] = zones_of(layout, change.memory_file);
  }
  for (OrderedJson& mapping : json["memory_manager_data"]["guest_ram_mappings"]) {
    const std::uint64_t address = number_of(member(mapping, "gpa")).value_or(0);
    for (const RamMapping& known : layout.mappings) {
      if (known.guest_address != address) continue;
      mapping["file_offset"] = is_in_memfds ? 0 : known.image_offset;
    }
  }
  for (const auto& [id, tap] : change.networks) {
    LAMINA_RETURN_IF_ERROR(set_network(vm_config, id, tap));
  }
  LAMINA_RETURN_IF_ERROR(set_host_paths(vm_config, change.paths));
  return dump_json(json);
}

}  // namespace lamina::vmm
