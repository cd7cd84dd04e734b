// Publishing a manifest (docs/remote.md, "Publishing", 5 and 6).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "packed/keys.h"
#include "remote/bucket.h"
#include "remote/catalogue.h"
#include "remote/manifest.h"

namespace lamina::remote {

enum class PublicationOutcome : std::uint8_t {
  kAcknowledged,
  kConflict,  ///< another state has the number, or is newer
  kAgain,     ///< the number is used up: begin again with another push id
  kFailed,    ///< it is not published; the error says why
  kUnknown,   ///< it may be published, or may still be: the pin must stay
};

struct Publication {
  PublicationOutcome outcome = PublicationOutcome::kFailed;
  Error error{};  ///< of kFailed and kUnknown
};

/// Puts the manifest at its place if that is free, finds out by the nonce what became of requests
/// without an answer, and checks that nothing is newer. Calls `when_stored` before that
/// check if the store has acknowledged the record: from then on it protects its objects.
Publication publish(Bucket& bucket, const Record& record, std::span<const std::byte> bytes,
                    const std::function<void()>& when_stored = {});

/// Checks that nothing is newer than the record of `place`, which is stored.
Publication check_newest(Bucket& bucket, const RecordPlace& place);

}  // namespace lamina::remote
