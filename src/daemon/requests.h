// Decodes requests into options of the library. Looks nothing up and does nothing.
//
// Each read_…() fails with kUsage for a field that is missing, wrong or unknown. The message is
// short and has no control characters, whatever the request contains. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "daemon/messages.h"
#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/lifecycle.h"
#include "lamina/live_fork.h"
#include "lamina/remove.h"
#include "lamina/result.h"
#include "schema/remote_requests.h"

namespace lamina::daemon {

/// The options of a request, and the store that it names.
template <typename Options>
struct StoreRequest {
  Options options;
  std::string store;  ///< empty: not given
};

/// The path of a snapshot of `store`. kUsage for a text that cannot be a name, so that no request
/// reaches a path outside the store.
Result<std::string> snapshot_path(const std::string& store, const std::string& name);

// The options' `store` is the one that the request names; empty: not given. Names are as given.
Result<PauseOptions> read_pause(const Request& request);
Result<schema::ResumeRequest> read_resume(const Request& request);
Result<RecoverOptions> read_recover(const Request& request);

/// At most kMaxClones clones: each has a thread of its own.
Result<LiveForkOptions> read_live_fork(const Request& request);
inline constexpr std::size_t kMaxClones = 256;

// Names in the options are paths of `store`.
Result<StoreRequest<ForkOptions>> read_fork(const Request& request, const std::string& store);
Result<StoreRequest<RemoveOptions>> read_remove_several(const Request& request,
                                                        const std::string& store);
/// `name` is part of the request's path.
Result<RemoveOptions> read_remove(const Request& request, const std::string& name,
                                  const std::string& store);

/// `policy` is used if the request has none. The options' `snapshot` is empty.
Result<StoreRequest<CompactOptions>> read_compact(const Request& request,
                                                  const std::string& policy);

// Requests about a bucket.
/// The options' `snapshot` is a path of `store`.
Result<StoreRequest<PushOptions>> read_push(const Request& request, const std::string& store);
Result<StoreRequest<PullOptions>> read_pull(const Request& request);
Result<StoreRequest<schema::PruneRequest>> read_prune(const Request& request);

/// True if the listing is to have the tree of the snapshots.
Result<bool> read_list(const Request& request);

/// The number of the last event that the client knows; 0: none.
Result<std::uint64_t> read_events(const Request& request);

/// Checks that a request has no fields.
Status check_no_fields(const Request& request);

}  // namespace lamina::daemon
