#pragma once

#include "lamina/lifecycle.h"
#include "report/error_json.h"

namespace lamina::report {

/// "uffd" or "file".
const char* mode_name(ResumeMode mode);

Json pause_json(const PauseReport& report);
Json resume_json(const ResumeReport& report);
Json recover_json(const RecoverReport& report, bool dry_run);

}  // namespace lamina::report
