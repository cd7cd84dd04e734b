#include "stand_ins/firecracker/api.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "stand_ins/firecracker/request_body.h"

namespace lamina::tests {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kBeforeStart =
    "The requested operation is not supported before starting the microVM.";
constexpr const char* kAfterStart =
    "The requested operation is not supported after starting the microVM.";

const Schema& vm_schema() {
  static const Schema schema = {"Vm",
                                {{"state", FieldKind::kVariant, true, {"Paused", "Resumed"}}}};
  return schema;
}

const Schema& boot_source_schema() {
  static const Schema schema = {"BootSourceConfig",
                                {{"kernel_image_path", FieldKind::kString, true},
                                 {"initrd_path", FieldKind::kString},
                                 {"boot_args", FieldKind::kString}}};
  return schema;
}

Schema create_schema(unsigned minor) {
  Schema schema = {"CreateSnapshotParams",
                   {{"snapshot_type", FieldKind::kVariant, false, {"Diff", "Full"}},
                    {"snapshot_path", FieldKind::kPath, true},
                    {"mem_file_path", FieldKind::kPath, true}}};
  if (minor >= 17) schema.fields.push_back({"sync_snapshot_files", FieldKind::kBool});
  return schema;
}

/// Later versions know more fields.
Schema load_schema(unsigned minor) {
  static const Schema backend = {"MemBackendConfig",
                                 {{"backend_path", FieldKind::kPath, true},
                                  {"backend_type", FieldKind::kVariant, true, {"File", "Uffd"}}}};
  static const Schema network = {
      "NetworkOverride",
      {{"iface_id", FieldKind::kString, true}, {"host_dev_name", FieldKind::kString, true}},
      true};
  static const Schema vsock = {"VsockOverride", {{"uds_path", FieldKind::kString, true}}};
  Schema schema = {"LoadSnapshotConfig",
                   {{"snapshot_path", FieldKind::kPath, true},
                    {"mem_file_path", FieldKind::kPath},
                    {"mem_backend", FieldKind::kObject, false, {}, &backend},
                    {"enable_diff_snapshots", FieldKind::kBool}}};
  const auto add = [&](unsigned since, Field field) {
    if (minor >= since) schema.fields.push_back(std::move(field));
  };
  add(13, {"track_dirty_pages", FieldKind::kBool});
  add(0, {"resume_vm", FieldKind::kBool});
  add(12, {"network_overrides", FieldKind::kObjects, false, {}, &network});
  add(16, {"vsock_override", FieldKind::kObject, false, {}, &vsock});
  add(16, {"clock_realtime", FieldKind::kBool});
  add(17, {"huge_pages", FieldKind::kVariant, false, {"Snapshot", "None", "Transparent", "2M"}});
  return schema;
}

/// The second number of a version; all of this program's are 1.x.
unsigned minor_of(const std::string& version) {
  const std::size_t dot = version.find('.');
  return dot == std::string::npos
             ? 0
             : static_cast<unsigned>(std::strtoul(version.c_str() + dot + 1, nullptr, 10));
}

HttpResponse fault(const std::string& message) {
  return {.status = 400,
          .body = json{{"fault_message", message}}.dump(-1, ' ', false,
                                                        json::error_handler_t::replace)};
}

HttpResponse answer_of(const Status& done, std::string_view action) {
  if (done) return {};
  return fault(fmt::format("{}: {}", action, done.error().message));
}

HttpResponse success(const ordered_json& body) { return {.status = 200, .body = body.dump()}; }

/// The refusal of a request that has a body and may not, or has none and must; empty: none.
std::string body_refusal(const HttpRequest& request) {
  const std::string& method = request.method;
  if (request.body && (method == "GET" || method == "DELETE")) {
    return method + " request cannot have a body.";
  }
  if (!request.body && (method == "PUT" || method == "PATCH")) {
    return "Empty " + method + " request.";
  }
  return {};
}

}  // namespace

Api::Api(MicroVm& vm, std::string version)
    : vm_(vm), version_(std::move(version)), minor_(minor_of(version_)) {}

HttpResponse Api::handle(const HttpRequest& request) {
  const std::string& method = request.method;
  const std::string path =
      request.path.substr(std::min(request.path.find_first_not_of('/'), request.path.size()));
  if (const std::string refusal = body_refusal(request); !refusal.empty()) return fault(refusal);
  if (method == "GET") {
    if (auto known = get(path)) return *std::move(known);
  }
  if (method == "PUT" && path == "mmds") return put_mmds(*request.body);
  if (method == "PATCH" && path == "vm") return patch_vm(*request.body);
  if (method == "PUT" && path == "boot-source") return put_boot_source(*request.body);
  if (method == "PUT" && path == "snapshot/create") return create(*request.body);
  if (method == "PUT" && path == "snapshot/load") return load(*request.body);
  if (method == "PUT" && (path == "snapshot" || path == "snapshot/")) {
    return fault("Missing snapshot operation type.");
  }
  const std::string first = path.substr(0, path.find('/'));
  const std::string named = method == "PUT" && first == "snapshot" ? "/" + path : first;
  return fault(fmt::format("Invalid request method and/or path: {} {}.", method, named));
}

std::optional<HttpResponse> Api::get(const std::string& path) const {
  if (path.empty()) return instance_info();
  if (path == "version") return success({{"firecracker_version", version_}});
  if (path == "machine-config") return machine_config();
  if (path == "hotplug/memory" && minor_ >= 14) return hotplug_memory();
  if (path == "mmds") return HttpResponse{.status = 200, .body = metadata_};
  return std::nullopt;
}

HttpResponse Api::instance_info() const {
  const char* state = "Not started";
  if (vm_.state() == RunState::kRunning) state = "Running";
  if (vm_.state() == RunState::kPaused) state = "Paused";
  return success({{"id", vm_.options().id},
                  {"state", state},
                  {"vmm_version", version_},
                  {"app_name", "Firecracker"}});
}

HttpResponse Api::machine_config() const {
  ordered_json config = {{"vcpu_count", vm_.options().vcpus},
                         {"mem_size_mib", vm_.memory_mib()},
                         {"smt", false},
                         {"track_dirty_pages", vm_.tracks_dirty_pages()}};
  if (minor_ >= 7) config["huge_pages"] = vm_.facts().huge_pages;
  return success(config);
}

HttpResponse Api::hotplug_memory() const {
  if (vm_.state() == RunState::kNotStarted) return fault(kBeforeStart);
  const VmState& facts = vm_.facts();
  if (facts.hotplug_mib == 0) {
    return fault("Internal VMM error: Failed perform action on device: Device not found");
  }
  return success({{"block_size_mib", 2},
                  {"total_size_mib", facts.hotplug_mib},
                  {"slot_size_mib", 128},
                  {"plugged_size_mib", facts.plugged_mib},
                  {"requested_size_mib", facts.plugged_mib}});
}

HttpResponse Api::put_boot_source(const std::string& body) {
  const auto wanted = decode_body(body, boot_source_schema());
  if (!wanted) return fault(wanted.error().message);
  if (vm_.state() != RunState::kNotStarted) return fault(kAfterStart);
  vm_.configure_boot();
  return {};
}

/// The metadata service has no place but a network device: without its configuration, it refuses.
HttpResponse Api::put_mmds(const std::string& body) {
  if (!vm_.options().has_mmds) return fault("The MMDS data store is not initialized.");
  if (!json::parse(body, nullptr, false).is_object()) return fault("The MMDS data is not valid.");
  metadata_ = body;
  return {};
}

HttpResponse Api::patch_vm(const std::string& body) {
  const auto wanted = decode_body(body, vm_schema());
  if (!wanted) return fault(wanted.error().message);
  if (vm_.state() == RunState::kNotStarted) return fault(kBeforeStart);
  // Pausing what is paused and resuming what runs are no errors.
  const bool pause = wanted->at("state") == "Paused";
  return answer_of(pause ? vm_.pause() : vm_.resume(), "Internal VMM error");
}

HttpResponse Api::create(const std::string& body) {
  const auto wanted = decode_body(body, create_schema(minor_));
  if (!wanted) return fault(wanted.error().message);
  if (vm_.state() == RunState::kNotStarted) return fault(kBeforeStart);
  const bool is_diff = wanted->value("snapshot_type", "Full") == "Diff";
  const auto created = vm_.create({is_diff ? MemoryFileKind::kDiff : MemoryFileKind::kFull,
                                   wanted->at("snapshot_path"), wanted->at("mem_file_path")});
  if (!created) return fault("Create snapshot error: " + created.error().message);
  return {.hang_up = *created == CreateAnswer::kNone};
}

HttpResponse Api::load(const std::string& body) {
  const auto wanted = decode_body(body, load_schema(minor_));
  if (!wanted) return fault(wanted.error().message);
  const bool has_file = wanted->contains("mem_file_path");
  const bool has_backend = wanted->contains("mem_backend");
  if (has_file == has_backend) {
    return fault(fmt::format(
        "An error occurred when deserializing the json body of a request: {} field{}: either "
        "`mem_backend` or `mem_file_path` {}is required.",
        has_file ? "too many" : "missing", has_file ? "s" : "", has_file ? "exclusively " : ""));
  }
  HttpResponse response = load_from(*wanted);
  response.is_deprecated = has_file || (minor_ >= 13 && wanted->contains("enable_diff_snapshots"));
  return response;
}

HttpResponse Api::load_from(const json& wanted) {
  if (vm_.state() != RunState::kNotStarted) return fault(kAfterStart);
  if (vm_.is_configured()) {
    return fault(
        "Load snapshot error: Loading a microVM snapshot not allowed after configuring "
        "boot-specific resources.");
  }
  const bool has_backend = wanted.contains("mem_backend");
  LoadRequest request;
  request.state_path = wanted.at("snapshot_path");
  request.memory_path =
      has_backend ? wanted.at("mem_backend").at("backend_path") : wanted.at("mem_file_path");
  request.from_page_server = has_backend && wanted.at("mem_backend").at("backend_type") == "Uffd";
  request.track_dirty_pages =
      wanted.value("track_dirty_pages", false) || wanted.value("enable_diff_snapshots", false);
  request.resume = wanted.value("resume_vm", false);
  for (const json& network : wanted.value("network_overrides", json::array())) {
    request.networks.push_back(network.at("iface_id"));
  }
  request.has_vsock_override = wanted.contains("vsock_override");
  request.huge_pages = wanted.value("huge_pages", "Snapshot");
  HttpResponse response = answer_of(vm_.load(request), "Load snapshot error");
  // Nothing can be done with a process whose load failed, and Firecracker ends it.
  response.exit_after = response.status != 204;
  return response;
}

}  // namespace lamina::tests
