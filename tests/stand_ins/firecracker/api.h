// Firecracker's API, as far as pausing and resuming needs it. All else is refused as an invalid
// path.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "stand_ins/firecracker/http_server.h"
#include "stand_ins/firecracker/micro_vm.h"

namespace lamina::tests {

class Api {
 public:
  /// `version` is what the VMM says it is: "1.15.0". It knows the fields that this version knows.
  Api(MicroVm& vm, std::string version);

  HttpResponse handle(const HttpRequest& request);

 private:
  /// Absent: there is no such path.
  [[nodiscard]] std::optional<HttpResponse> get(const std::string& path) const;
  [[nodiscard]] HttpResponse instance_info() const;
  [[nodiscard]] HttpResponse machine_config() const;
  [[nodiscard]] HttpResponse hotplug_memory() const;
  HttpResponse put_boot_source(const std::string& body);
  HttpResponse put_mmds(const std::string& body);
  HttpResponse patch_vm(const std::string& body);
  HttpResponse create(const std::string& body);
  HttpResponse load(const std::string& body);
  HttpResponse load_from(const nlohmann::json& wanted);

  MicroVm& vm_;
  std::string version_;
  unsigned minor_;
  std::string metadata_ = "null";
};

}  // namespace lamina::tests
