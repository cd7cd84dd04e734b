#include "vmm/cloud_hypervisor/host_paths.h"

#include <fmt/format.h>

#include <array>

#include "base/error.h"

namespace lamina::vmm {
namespace {

/// The member that has the path of a serial device; null if its mode needs none.
const char* path_member(const OrderedJson& device) {
  const std::string mode = text_of(member(device, "mode"));
  if (mode == "File") return "file";
  return mode == "Socket" ? "socket" : nullptr;
}

Status set_character_device(OrderedJson& vm_config, const char* name, const std::string& path) {
  const char* where = path_member(member(vm_config, name));
  if (where == nullptr) {
    return fail(ErrorKind::kUsage,
                "the {} of the VM is neither a file nor a socket, so it has no "
                "path",
                name);
  }
  vm_config[name][where] = path;
  return {};
}

Status set_drive(OrderedJson& vm_config, const std::string& id, const std::string& path) {
  for (const auto& [kind, where] : {std::pair{"disks", "path"}, std::pair{"pmem", "file"}}) {
    if (!member(vm_config, kind).is_array()) continue;
    for (OrderedJson& device : vm_config[kind]) {
      if (text_of(member(device, "id")) != id) continue;
      device[where] = path;
      return {};
    }
  }
  return fail(ErrorKind::kUsage, "the VM has no disk '{}'", id);
}

void add(std::vector<WrittenPath>& paths, WrittenPath path) {
  if (!path.path.empty()) paths.push_back(std::move(path));
}

/// `writes`: whether a device of this kind writes its file.
template <typename Writes>
void add_drives(std::vector<WrittenPath>& paths, const OrderedJson& devices, const char* where,
                const char* kind, const Writes& writes) {
  if (!devices.is_array()) return;
  for (const OrderedJson& device : devices) {
    if (!writes(device)) continue;
    add(paths,
        {text_of(member(device, where)),
         fmt::format("{} '{}'", kind, printable(text_of(member(device, "id")))), "drive_override"});
  }
}

}  // namespace

Status set_host_paths(OrderedJson& vm_config, const HostPaths& paths) {
  for (const auto& [id, path] : paths.drives) {
    LAMINA_RETURN_IF_ERROR(set_drive(vm_config, id, path));
  }
  if (!paths.serial.empty()) {
    LAMINA_RETURN_IF_ERROR(set_character_device(vm_config, "serial", paths.serial));
  }
  if (!paths.console.empty()) {
    LAMINA_RETURN_IF_ERROR(set_character_device(vm_config, "console", paths.console));
  }
  if (paths.vsock_socket.empty()) return {};
  if (!member(vm_config, "vsock").is_object()) {
    return fail(ErrorKind::kUsage, "the VM has no vsock device");
  }
  vm_config["vsock"]["socket"] = paths.vsock_socket;
  return {};
}

Result<std::vector<WrittenPath>> written_paths(std::string_view config) {
  LAMINA_ASSIGN_OR_RETURN(const OrderedJson json, parse_json_object(config, "the Config message"));
  const OrderedJson& vm_config = member(json, "vm_config");
  std::vector<WrittenPath> paths;
  add_drives(paths, member(vm_config, "disks"), "path", "disk",
             [](const OrderedJson& disk) { return !is_true(member(disk, "readonly")); });
  add_drives(paths, member(vm_config, "pmem"), "file", "pmem",
             [](const OrderedJson& pmem) { return !is_true(member(pmem, "discard_writes")); });
  constexpr std::array<std::pair<const char*, const char*>, 3> kCharacterDevices = {
      {{"serial", "serial_override"}, {"console", "console_override"}, {"debug_console", ""}}};
  for (const auto& [name, option] : kCharacterDevices) {
    const OrderedJson& device = member(vm_config, name);
    const char* where = path_member(device);
    if (where == nullptr) continue;
    add(paths, {text_of(member(device, where)), name, option, std::string_view(where) == "socket"});
  }
  add(paths,
      {text_of(member(member(vm_config, "vsock"), "socket")), "vsock", "vsock_override", true});
  return paths;
}

}  // namespace lamina::vmm
