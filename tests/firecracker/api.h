// Firecracker's API, as far as pausing and resuming needs it. All else is refused as an invalid
// path.
#pragma once

#include <string>

#include "http_server.h"
#include "micro_vm.h"

namespace lamina::tests {

class Api {
 public:
  /// `version` is what the VMM says it is: "1.15.0".
  Api(MicroVm& vm, std::string version) : vm_(vm), version_(std::move(version)) {}

  HttpResponse handle(const HttpRequest& request);

 private:
  [[nodiscard]] HttpResponse instance_info() const;
  [[nodiscard]] HttpResponse machine_config() const;
  HttpResponse patch_vm(const std::string& body);
  HttpResponse create(const std::string& body);
  HttpResponse load(const std::string& body);
  [[nodiscard]] bool is_at_least(unsigned minor) const;

  MicroVm& vm_;
  std::string version_;
};

}  // namespace lamina::tests
