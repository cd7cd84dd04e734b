// Sends requests a second time if their answers are late (hedging.h): for who waits for all of
// them, as a resume does before its VM runs.
//
//   reads       GET, HEAD, LIST: the first good answer counts, and the other request is given up.
//               A HEAD that follows a list of tombstones, or a list that follows a PUT, still does
//               so when it is sent once more
//   a PUT that may be sent again, without a condition: a pin, always with the same bytes. The other
//               one is given up and may still take effect, even after the pin was deleted; such a
//               pin expires (docs/remote.md, "Requests without an answer")
//   others      are sent once
//
// A failure of the first request is an answer: the store below has repeated what may be repeated.
#pragma once

#include <memory>

#include "lamina/late_requests.h"
#include "object_store/object_store.h"

namespace lamina::remote {

/// `store` and `counts` must outlive it. Second requests are sent by advance() only, so who waits
/// for poll_fd() instead has none.
std::unique_ptr<object_store::ObjectStore> make_hedging_store(object_store::ObjectStore& store,
                                                              LateRequests& counts);

}  // namespace lamina::remote
