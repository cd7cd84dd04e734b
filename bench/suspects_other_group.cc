// Dropped when the other group is merged.
#include "bench.h"

namespace lamina::bench {

Status run_storage_suspects(Bench& /*bench*/) { return {}; }

}  // namespace lamina::bench
