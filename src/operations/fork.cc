#include "lamina/fork.h"

#include "base/contain.h"
#include "base/error.h"
#include "operations/with_store.h"
#include "os/directory.h"
#include "store/name.h"
#include "store/snapshot_directory.h"
#include "store/snapshot_link.h"
#include "store/staging.h"
#include "store/store.h"

namespace lamina {
namespace {

using store::OpenSnapshot;
using store::Staging;

class Fork {
 public:
  Fork(const store::StoreSource& stores, const ForkOptions& options)
      : stores_(stores), options_(options) {}

  Result<ForkReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath target,
                            store::parse_snapshot_path(options_.fork));
    // Open the source first: if it does not exist, no store must be made for the fork.
    LAMINA_ASSIGN_OR_RETURN(OpenSnapshot source,
                            store::open_snapshot(options_.snapshot, engine::Checksums::kSkip));
    if (source.facts && source.facts->once) {
      return with_remedy(
          fail(ErrorKind::kFailed, "'{}' may be resumed only once, so it cannot be forked",
               options_.snapshot),
          "pause without `once` what is to be forked");
    }
    LAMINA_ASSIGN_OR_RETURN(const auto opened, stores_.open(target.store, report_.notes));
    const store::Store& store = *opened;
    LAMINA_ASSIGN_OR_RETURN(const store::NameLock lock, store.lock(target.name));
    if (os::name_exists(store.fd(), target.name)) {
      return with_remedy(fail(ErrorKind::kExists, "'{}' already exists", target.path),
                         "choose another name for the fork");
    }
    report_.fork = target.path;
    return store::retry_if_replaced(source, [&] { return link(source, store, target.name); });
  }

  Status link(const OpenSnapshot& source, const store::Store& store, const std::string& name) {
    LAMINA_ASSIGN_OR_RETURN(Staging staging,
                            Staging::create(store, store::Area::kTemporary, Uuid::random()));
    std::vector<std::string> notes;
    LAMINA_RETURN_IF_ERROR(
        store::link_snapshot(source, staging.fd(), staging.path(), notes, options_.progress));
    report_.notes.insert(report_.notes.end(), notes.begin(), notes.end());
    LAMINA_RETURN_IF_ERROR(count_layers(source, staging));
    report_.pause_id = source.pause_id;
    report_.generation = source.header.generation;
    return staging.publish_new(name);
  }

  Status count_layers(const OpenSnapshot& source, const Staging& staging) {
    for (const engine::Layer& layer : source.chain.layers()) {
      const std::string name = layer.path().substr(layer.path().rfind('/') + 1);
      LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts,
                              os::facts_of_name(staging.fd(), name, staging.file_path(name)));
      const bool linked = facts.same_file(layer.facts());
      ++(linked ? report_.linked_layers : report_.copied_layers);
      (linked ? report_.linked_bytes : report_.copied_bytes) += facts.allocated_bytes;
    }
    return {};
  }

  const store::StoreSource& stores_;
  const ForkOptions& options_;
  ForkReport report_;
};

}  // namespace

Result<ForkReport> operations::fork_snapshot(const store::StoreSource& stores,
                                             const ForkOptions& options) {
  return contain("fork", [&] { return Fork(stores, options).run(); });
}

Result<ForkReport> fork_snapshot(const ForkOptions& options) {
  return operations::fork_snapshot({}, options);
}

}  // namespace lamina
