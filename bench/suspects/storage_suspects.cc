#include "storage_suspects.h"

#include "base/error.h"

namespace lamina::bench {

Status run_storage_suspects(Bench& bench) {
  for (Status (*part)(Bench&) : {run_scan_suspects, run_hole_suspects, run_punch_suspects,
                                 run_clone_suspects, run_write_suspects, run_io_uring_suspects,
                                 run_direct_io_suspects, run_layer_mapping_suspects}) {
    LAMINA_RETURN_IF_ERROR(part(bench));
  }
  return {};
}

}  // namespace lamina::bench
