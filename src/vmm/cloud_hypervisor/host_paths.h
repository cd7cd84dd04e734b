// Paths of the host in a Cloud Hypervisor VM's configuration, which clones must not share. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "vmm/cloud_hypervisor/json_text.h"

namespace lamina::vmm {

/// Other paths for the devices of a VM. Empty: as before.
struct HostPaths {
  std::vector<std::pair<std::string, std::string>> drives{};  ///< id of a disk or pmem, its file
  std::string serial{};                                       ///< file or socket, as its mode says
  std::string console{};
  std::string vsock_socket{};
};

/// Changes `vm_config`. kUsage if a device does not exist, or has no path.
Status set_host_paths(OrderedJson& vm_config, const HostPaths& paths);

/// A path that the VMM opens for writing, or listens at.
struct WrittenPath {
  std::string path{};    ///< as the VMM sees it; may be relative
  std::string device{};  ///< for messages: "disk '_disk0'"
  std::string option{};  ///< that gives another path; empty: none
  bool is_socket = false;

  bool operator==(const WrittenPath&) const = default;
};

/// Those of the `vm_config` of a Config message. Disks that are read-only are not among them.
Result<std::vector<WrittenPath>> written_paths(std::string_view config);

}  // namespace lamina::vmm
