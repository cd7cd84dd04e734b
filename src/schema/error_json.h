// Errors as JSON, and their exit codes.
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

/// The error's remedy; for a full disk without one, the general remedy. "" if none is known.
std::string remedy_of(const Error& error);

/// {"kind", "message", "exit_code"}, and "remedy" if there is one: the error of one item in a
/// report about several.
Json error_json(const Error& error);

/// Reads an Error from an object with "kind", "message", and optionally "remedy" and "notes": the
/// output of error_json(), or the error in a reply of the daemon. kFailed: the message names a
/// missing or wrong field.
Result<Error> error_from_json(const Json& document);

}  // namespace lamina::schema
