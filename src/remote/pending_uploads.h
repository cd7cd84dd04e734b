// Multipart uploads that nobody will complete (docs/remote.md, "Collecting", step 9).
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "object_store/blocking_store.h"
#include "object_store/object_store.h"
#include "remote/contents.h"

namespace lamina::remote {

struct ListedUploads {
  /// Of objects only: others are not lamina's.
  std::vector<object_store::PendingUpload> uploads;
  std::optional<std::chrono::sys_seconds> server_time;
  /// Why the store does not list them; empty: it does.
  std::string refusal;
};

/// Uploads that have been begun. A store that refuses to list them (it cannot, or the credentials
/// do not permit it) is not a failure.
Result<ListedUploads> list_uploads(object_store::BlockingStore& store);

/// Those that nobody will complete: no pin of `references` protects the push, and, if the store
/// says when it was begun, that was longer ago than `grace`. REQUIRES: the pins were read after
/// `listed`: a push stores its pin before it begins an upload, and deletes it after the last one.
std::vector<object_store::PendingUpload> abandoned_uploads(const ListedUploads& listed,
                                                           const References& references,
                                                           std::chrono::seconds grace);

}  // namespace lamina::remote
