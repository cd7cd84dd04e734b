#pragma once

#include "lamina/lifecycle.h"
#include "report/error_json.h"

namespace lamina::report {

/// "uffd" or "file".
const char* mode_name(ResumeMode mode);

// Each report's JSON, and the report of such JSON, which may come from anywhere: kFailed names the
// field that is missing or wrong. Thread-safe.

Json pause_json(const PauseReport& report);
Result<PauseReport> pause_from_json(const Json& document);

Json resume_json(const ResumeReport& report);
Result<ResumeReport> resume_from_json(const Json& document);

Json recover_json(const RecoverReport& report, bool dry_run);
Result<RecoverReport> recover_from_json(const Json& document);

}  // namespace lamina::report
