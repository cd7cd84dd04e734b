#include "vmm/connect.h"

#include <utility>

#include "base/error.h"

namespace lamina::vmm {

Result<AnyVmm> connect(const std::string& api_socket, const Timeouts& timeouts, Progress* progress,
                       const WhenIdentified& when_identified) {
  LAMINA_ASSIGN_OR_RETURN(Firecracker firecracker,
                          Firecracker::connect(api_socket, timeouts, progress));
  if (when_identified) LAMINA_RETURN_IF_ERROR(when_identified(firecracker));
  LAMINA_ASSIGN_OR_RETURN(const bool is_one, firecracker.is_one());
  if (is_one) return AnyVmm(std::in_place_type<Firecracker>, std::move(firecracker));
  return AnyVmm(std::in_place_type<CloudHypervisor>, std::move(firecracker));
}

}  // namespace lamina::vmm
