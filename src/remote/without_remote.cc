// The functions of lamina/remote.h in a build without LAMINA_REMOTE.
#include "base/error.h"
#include "lamina/remote.h"
#include "lamina/remote_keys.h"
#include "store/snapshot_use.h"

namespace lamina {
namespace {

std::unexpected<Error> no_object_tier() {
  return with_remedy(fail(ErrorKind::kUnsupported, "this build of lamina has no object tier"),
                     "build it with LAMINA_REMOTE");
}

}  // namespace

bool RemoteCheckReport::is_usable() const { return false; }

Result<RemoteCheckReport> check_remote(const std::string& /*url*/, Progress* /*progress*/) {
  return no_object_tier();
}
Result<std::vector<UnpushedState>> list_unpushed(const UnpushedOptions& /*options*/) {
  return no_object_tier();
}
Result<Uuid> read_bucket_id(const BucketIdOptions& /*options*/) { return no_object_tier(); }
bool matches_pattern(const std::string& /*name*/, const std::string& /*pattern*/) { return false; }
Result<PushReport> push_snapshot(const PushOptions& /*options*/) { return no_object_tier(); }
Result<PullReport> pull_snapshot(const PullOptions& /*options*/) { return no_object_tier(); }
Result<LazyPullReport> begin_pull(const LazyPullOptions& /*options*/) { return no_object_tier(); }
Result<CacheReport> bound_cache(const CacheOptions& /*options*/) { return no_object_tier(); }
Result<std::shared_ptr<const void>> hold_for_resume(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(auto held, store::hold_snapshot(path));
  if (!held) return nullptr;
  return std::make_shared<os::LockedFd>(std::move(*held));
}
Result<FetchReport> fetch_arriving(const FetchOptions& /*options*/) { return no_object_tier(); }
Result<RemoteListReport> list_remote(const RemoteListOptions& /*options*/) {
  return no_object_tier();
}
Result<RemoteUseReport> use_of_remote(const RemoteUseOptions& /*options*/) {
  return no_object_tier();
}
Result<RemoteRemoveReport> remove_remote(const RemoteRemoveOptions& /*options*/) {
  return no_object_tier();
}
Result<PruneReport> prune_remote(const PruneOptions& /*options*/) { return no_object_tier(); }
Result<RemoteVerifyReport> verify_remote(const RemoteVerifyOptions& /*options*/) {
  return no_object_tier();
}
Result<RemoteKeysReport> list_remote_keys(const RemoteKeysOptions& /*options*/) {
  return no_object_tier();
}
Result<RotateKeyReport> rotate_remote_key(const RotateKeyOptions& /*options*/) {
  return no_object_tier();
}
Result<DestroyKeyReport> destroy_remote_key(const DestroyKeyOptions& /*options*/) {
  return no_object_tier();
}

}  // namespace lamina
