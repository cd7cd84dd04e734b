// The functions of lamina/e2b.h in a build without LAMINA_REMOTE.
#include "base/error.h"
#include "lamina/e2b.h"

namespace lamina {
namespace {

std::unexpected<Error> no_e2b() {
  return with_remedy(
      fail(ErrorKind::kUnsupported, "this build of lamina does not read or write files of E2B"),
      "build it with LAMINA_REMOTE");
}

}  // namespace

Result<E2bImportReport> import_e2b(const E2bImportOptions& /*options*/) { return no_e2b(); }
Result<E2bExportReport> export_e2b(const E2bExportOptions& /*options*/) { return no_e2b(); }

}  // namespace lamina
