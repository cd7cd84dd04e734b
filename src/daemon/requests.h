// What requests ask for, as the options of the library: decoding alone, nothing is looked up and
// nothing is done.
//
// Each read_…() fails with kUsage for fields that are missing, wrong or not known; the message is
// short and has no control characters, whatever the request has. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/http_server.h"
#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/lifecycle.h"
#include "lamina/remove.h"
#include "lamina/result.h"

namespace lamina::daemon {

/// The options of a request, and the store that it is meant for; empty: ours.
template <typename Options>
struct Meant {
  Options options;
  std::string store;
};

/// A snapshot of `store`; kUsage for what cannot be a name, so that no request leaves the store.
Result<std::string> snapshot_path(const std::string& store, const std::string& name);

// The options' `store` is the one that the request is meant for, empty: ours. Names are as given.
Result<PauseOptions> read_pause(const Request& request);
Result<ResumeOptions> read_resume(const Request& request);
/// The daemon has a store and a page server of its own.
Result<RecoverOptions> read_recover(const Request& request);

// Names have become paths of `store`.
Result<Meant<ForkOptions>> read_fork(const Request& request, const std::string& store);
Result<Meant<RemoveOptions>> read_remove_several(const Request& request, const std::string& store);
/// `name` stands in the request's path.
Result<RemoveOptions> read_remove(const Request& request, const std::string& name,
                                  const std::string& store);

/// `policy` is the daemon's, where the request has none. Without the snapshot.
Result<Meant<CompactOptions>> read_compact(const Request& request, const std::string& policy);

/// Whether a list of the snapshots has their tree.
Result<bool> read_list(const Request& request);

/// The number of the last event that is known already; 0: none.
Result<std::uint64_t> read_events(const Request& request);

/// Of a request that has no fields.
Status read_nothing(const Request& request);

}  // namespace lamina::daemon
