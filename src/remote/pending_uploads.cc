#include "remote/pending_uploads.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "remote/names.h"
#include "remote/requests.h"

namespace lamina::remote {
namespace {

constexpr const char* kAllPrefix = "v1/";
/// A server whose list does not end would keep a prune busy for ever.
constexpr int kMaxUploadPages = 1000;

bool is_refusal(const object_store::Answer& answer) {
  return answer.outcome == object_store::Outcome::kRefused ||
         answer.outcome == object_store::Outcome::kDenied;
}

}  // namespace

Result<ListedUploads> list_uploads(object_store::BlockingStore& store) {
  ListedUploads listed;
  object_store::Request request;
  request.operation = object_store::Operation::kListUploads;
  request.key = kAllPrefix;
  for (int page = 0; page < kMaxUploadPages; ++page) {
    object_store::Answer answer = store.run(request);
    if (is_refusal(answer)) {
      listed.refusal = one_line(answer.error);
      return listed;
    }
    LAMINA_RETURN_IF_ERROR(strict_status(answer));
    // The first one is the earliest: an upload never seems older than it is.
    if (!listed.server_time) listed.server_time = answer.server_time;
    std::ranges::copy_if(std::move(answer.uploads), std::back_inserter(listed.uploads),
                         [](const object_store::PendingUpload& upload) {
                           return parse_object_key(upload.key).has_value();
                         });
    if (!answer.has_more) return listed;
    request.after = std::move(answer.next_key);
    request.upload_id = std::move(answer.next_upload_id);
  }
  return fail(ErrorKind::kCorrupt, "the list of uploads in '{}' does not end",
              store.store().name_of(kAllPrefix));
}

std::vector<object_store::PendingUpload> abandoned_uploads(const ListedUploads& listed,
                                                           const References& references,
                                                           std::chrono::seconds grace) {
  std::vector<object_store::PendingUpload> abandoned;
  for (const object_store::PendingUpload& upload : listed.uploads) {
    const auto name = parse_object_key(upload.key);
    if (!name || references.has_pin_of(name->push_id)) continue;
    const bool may_be_young =
        upload.begun && (!listed.server_time || *listed.server_time - *upload.begun <= grace);
    if (!may_be_young) abandoned.push_back(upload);
  }
  return abandoned;
}

}  // namespace lamina::remote
