// Errors as JSON, and the numbers and words that stand for their kinds.
#pragma once

#include <string>

#include "lamina/result.h"
#include "schema/json.h"

namespace lamina::schema {

/// Exit codes; the README lists them.
enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitCorrupt = 4,
  kExitBusy = 5,
  kExitNoSpace = 6,
  kExitInterrupted = 130,
};

int exit_code_of(ErrorKind kind);

/// The message as a person gets it: that of a full disk with what to do about it.
std::string message_of(const Error& error);

/// {"kind", "message", "exit_code"}, as it stands in a document about several things.
Json error_json(const Error& error);

/// The Error of an object with "kind", "message" and maybe "notes": of error_json(), and of an
/// answer of the daemon. kFailed names the field that is missing or wrong.
Result<Error> error_from_json(const Json& document);

}  // namespace lamina::schema
