// Fetches what is missing of an arriving snapshot (store/arrival.h).
//
// One thread, one loop: the bucket, the socket, and its clients. Blocks that a client asks for come
// first, then the snapshot's working set in its order, then the rest in the order of the layers.
// The working set comes by its pack, if there is one: few requests, and each block is written to
// its place in the layer that has it. Its frame still counts as missing, and comes with the rest.
// There is one flight for each frame at a time. A bucket that fails is asked again, at intervals
// that grow to some seconds, for as long as it takes.
//
// The fetcher can be killed at any moment: a frame counts as here once its blocks and checksums are
// in the layer's file. After another boot each frame is checked again.
#pragma once

#include "lamina/progress.h"
#include "lamina/remote.h"
#include "lamina/result.h"
#include "object_store/object_store.h"
#include "packed/keys.h"
#include "store/arrival.h"

namespace lamina::remote {

/// REQUIRES: the caller holds the lock of the arrival. `tenant` and `progress` may be null. Errors
/// as for fetch_arriving().
Result<FetchReport> fetch_arrival(object_store::ObjectStore& bucket, store::Arrival& arrival,
                                  packed::KeyWrapper* tenant, Progress* progress);

}  // namespace lamina::remote
