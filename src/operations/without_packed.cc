// The functions of lamina/pack.h in a build without LAMINA_REMOTE.
#include "base/error.h"
#include "lamina/pack.h"
#include "operations/with_store.h"

namespace lamina {
namespace {

std::unexpected<Error> not_built() {
  return with_remedy(fail(ErrorKind::kUnsupported, "this build of lamina has no packed snapshots"),
                     "build it with LAMINA_REMOTE");
}

}  // namespace

Result<PackReport> pack_snapshot(const PackOptions& /*options*/) { return not_built(); }

Result<UnpackReport> unpack_snapshot(const UnpackOptions& /*options*/) { return not_built(); }

Result<UnpackReport> operations::unpack_snapshot(const store::StoreSource& /*stores*/,
                                                 const UnpackOptions& /*options*/) {
  return not_built();
}

}  // namespace lamina
