#include "lamina/materialize.h"

#include "base/contain.h"
#include "base/error.h"
#include "engine/materialize_data.h"
#include "operations/output_file.h"
#include "operations/sharing.h"
#include "store/snapshot_directory.h"

namespace lamina {
Result<MaterializeReport> materialize(const MaterializeOptions& options) {
  return contain("materialize", [&]() -> Result<MaterializeReport> {
    LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot snapshot,
                            store::open_snapshot(options.snapshot));
    LAMINA_ASSIGN_OR_RETURN(operations::OutputFile out,
                            operations::OutputFile::create(options.out, "a memory file"));
    engine::MaterializeTarget destination;
    destination.destination = out.fd();
    destination.path = options.out;
    destination.memory_bytes = snapshot.header.memory_bytes;
    destination.sharing = operations::sharing_of(options.reflink);
    destination.progress = options.progress;
    LAMINA_ASSIGN_OR_RETURN(const engine::MaterializedData data,
                            engine::materialize_data(snapshot.chain, destination));
    LAMINA_RETURN_IF_ERROR(out.publish());
    return MaterializeReport{snapshot.header.memory_bytes, data.cloned_bytes + data.copied_bytes,
                             data.cloned_bytes};
  });
}

}  // namespace lamina
