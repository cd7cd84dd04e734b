#include "vmm/firecracker/messages.h"

#include <nlohmann/json.hpp>

#include "base/block.h"
#include "base/error.h"
#include "base/utf8.h"

namespace lamina::vmm {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxShownBytes = 4096;
constexpr std::uint64_t kBytesPerMib = std::uint64_t{1} << 20;
constexpr std::uint64_t kMaxMemoryMib = kMaxBlocks * kBlockBytes / kBytesPerMib;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Success if `text` can be sent to Firecracker.
Status check_text(std::string_view what, const std::string& text) {
  if (text.empty()) return fail(ErrorKind::kUsage, "the {} is empty", what);
  if (text.contains('\0')) return fail(ErrorKind::kUsage, "the {} contains a NUL byte", what);
  if (!is_utf8(text)) {
    return fail(ErrorKind::kUsage,
                "the {} '{}' is not UTF-8, which Firecracker requires; choose another", what, text);
  }
  return {};
}

/// Replaces characters that would act on a terminal or break a line: C0 and C1 control characters,
/// DEL, and the line and paragraph separators. REQUIRES: UTF-8.
std::string without_control_characters(std::string_view text) {
  constexpr unsigned char kFirstPrintable = 0x20;
  constexpr unsigned char kDelete = 0x7f;
  std::string clean;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::string_view rest = text.substr(i);
    if (byte < kFirstPrintable || byte == kDelete) {
      clean += '?';
    } else if (rest.size() > 1 && rest[0] == '\xc2' && static_cast<unsigned char>(rest[1]) < 0xa0) {
      clean += '?';
      i += 1;
    } else if (rest.starts_with("\xe2\x80\xa8") || rest.starts_with("\xe2\x80\xa9")) {
      clean += '?';
      i += 2;
    } else {
      clean += text[i];
    }
  }
  return clean;
}

/// At most kMaxShownBytes of `text`, cut between characters.
std::string shortened(std::string text) {
  if (text.size() <= kMaxShownBytes) return text;
  constexpr std::string_view kEllipsis = "...";
  constexpr unsigned kContinuationMask = 0xc0;
  constexpr unsigned kContinuation = 0x80;
  std::size_t end = kMaxShownBytes - kEllipsis.size();
  while (end > 0 && (static_cast<unsigned char>(text[end]) & kContinuationMask) == kContinuation) {
    --end;
  }
  text.resize(end);
  text += kEllipsis;
  return text;
}

Result<Json> parse_object(std::string_view bytes) {
  Json json = Json::parse(bytes, nullptr, false);
  if (!json.is_object()) return fail(ErrorKind::kFailed, "the response is not a JSON object");
  return json;
}

std::unexpected<Error> bad_field(const char* name) {
  return fail(ErrorKind::kFailed, "field '{}' of the response is missing or wrong", name);
}

Result<std::string> text_field(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string()) return bad_field(name);
  return shortened(without_control_characters(found->get_ref<const std::string&>()));
}

Result<std::uint64_t> number_field(const Json& object, const char* name, std::uint64_t max) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_unsigned()) return bad_field(name);
  const auto value = found->get<std::uint64_t>();
  if (value == 0 || value > max) return bad_field(name);
  return value;
}

}  // namespace

Result<std::string> encode_create(const CreateRequest& request) {
  LAMINA_RETURN_IF_ERROR(check_text("VM state path", request.state_path));
  LAMINA_RETURN_IF_ERROR(check_text("memory file path", request.memory_path));
  return dump({{"snapshot_type", request.type == SnapshotType::kDiff ? "Diff" : "Full"},
               {"snapshot_path", request.state_path},
               {"mem_file_path", request.memory_path}});
}

Result<std::string> encode_load(const LoadRequest& request) {
  LAMINA_RETURN_IF_ERROR(check_text("VM state path", request.state_path));
  LAMINA_RETURN_IF_ERROR(check_text("memory backend path", request.backend_path));
  Json json = Json::object();
  json["snapshot_path"] = request.state_path;
  json["mem_backend"] = {
      {"backend_type", request.backend == MemoryBackend::kUffd ? "Uffd" : "File"},
      {"backend_path", request.backend_path}};
  json[request.is_before_1_13 ? "enable_diff_snapshots" : "track_dirty_pages"] = true;
  json["resume_vm"] = request.resume_vm;
  for (const NetworkOverride& network : request.network_overrides) {
    LAMINA_RETURN_IF_ERROR(check_text("network interface", network.interface_id));
    LAMINA_RETURN_IF_ERROR(check_text("host device", network.host_device));
    json["network_overrides"].push_back(
        {{"iface_id", network.interface_id}, {"host_dev_name", network.host_device}});
  }
  if (request.vsock_path) {
    LAMINA_RETURN_IF_ERROR(check_text("vsock path", *request.vsock_path));
    json["vsock_override"] = {{"uds_path", *request.vsock_path}};
  }
  if (request.clock_realtime) json["clock_realtime"] = true;
  if (request.huge_pages) json["huge_pages"] = *request.huge_pages;
  return dump(json);
}

Result<InstanceInfo> decode_instance_info(std::string_view bytes) {
  LAMINA_ASSIGN_OR_RETURN(const Json json, parse_object(bytes));
  InstanceInfo info;
  LAMINA_ASSIGN_OR_RETURN(info.id, text_field(json, "id"));
  LAMINA_ASSIGN_OR_RETURN(info.version, text_field(json, "vmm_version"));
  LAMINA_ASSIGN_OR_RETURN(const std::string state, text_field(json, "state"));
  if (state == "Not started") {
    info.state = VmState::kNotStarted;
  } else if (state == "Running") {
    info.state = VmState::kRunning;
  } else if (state == "Paused") {
    info.state = VmState::kPaused;
  } else {
    return fail(ErrorKind::kFailed,
                "the VM's state '{}' is not one of 'Not started', 'Running', 'Paused'", state);
  }
  return info;
}

Result<std::uint64_t> decode_hotplug_memory_mib(std::string_view bytes) {
  LAMINA_ASSIGN_OR_RETURN(const Json json, parse_object(bytes));
  return number_field(json, "total_size_mib", kMaxMemoryMib);
}

Result<MachineConfig> decode_machine_config(std::string_view bytes) {
  LAMINA_ASSIGN_OR_RETURN(const Json json, parse_object(bytes));
  MachineConfig config;
  LAMINA_ASSIGN_OR_RETURN(config.memory_mib, number_field(json, "mem_size_mib", kMaxMemoryMib));
  LAMINA_ASSIGN_OR_RETURN(const std::uint64_t vcpus, number_field(json, "vcpu_count", UINT32_MAX));
  config.vcpu_count = static_cast<std::uint32_t>(vcpus);
  const auto tracking = json.find("track_dirty_pages");
  if (tracking == json.end() || !tracking->is_boolean()) return bad_field("track_dirty_pages");
  config.track_dirty_pages = tracking->get<bool>();
  const auto pages = json.find("huge_pages");
  if (pages != json.end() && !pages->is_null()) {
    LAMINA_ASSIGN_OR_RETURN(config.huge_pages, text_field(json, "huge_pages"));
  }
  return config;
}

std::string decode_fault(std::string_view bytes) {
  const Json json = Json::parse(bytes, nullptr, false);
  if (json.is_object()) {
    const auto found = json.find("fault_message");
    if (found != json.end() && found->is_string()) {
      std::string message = without_control_characters(found->get_ref<const std::string&>());
      if (!message.empty()) return shortened(std::move(message));
    }
  }
  if (bytes.empty()) return "it gave no reason";
  // dump() converts arbitrary bytes to UTF-8.
  std::string shown = dump(Json(std::string(bytes.substr(0, kMaxShownBytes / 2))));
  return shortened(fmt::format("it answered {}", without_control_characters(shown)));
}

}  // namespace lamina::vmm
