#include "lifecycle/only_resume.h"

#include "base/error.h"
#include "store/once_mark.h"

namespace lamina::lifecycle {

Status OnlyResume::check(const store::Store& store, const Uuid& pause_id,
                         const std::string& path) const {
  if (again_) return {};
  LAMINA_ASSIGN_OR_RETURN(const auto consumed, store::consumed_once(store.fd(), pause_id));
  if (!consumed) return {};
  return with_remedy(
      fail(ErrorKind::kExists, "'{}' may be resumed only once, and was {}", path, *consumed),
      "if its VM never ran, or is known to be gone, resume with `again`");
}

Status OnlyResume::consume(const store::Store& store, const store::OpenSnapshot& snapshot,
                           const std::string& vm) {
  if (!snapshot.facts || !snapshot.facts->once) return {};
  const Status consumed = store::consume_once(store, snapshot.pause_id, vm);
  if (!consumed && consumed.error().kind == ErrorKind::kExists && again_) return {};
  LAMINA_RETURN_IF_ERROR(consumed);
  is_consumed_ = true;
  return {};
}

void OnlyResume::give_back(const store::Store& store, const Uuid& pause_id, Error& cause) const {
  if (!is_consumed_) return;
  const Status given_back = store::give_back_once(store, pause_id);
  if (!given_back) cause.message += "; " + one_line(given_back.error());
}

}  // namespace lamina::lifecycle
