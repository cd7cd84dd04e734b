#include "schema/error_json.h"

#include <string_view>

#include "base/error.h"
#include "lamina/words.h"

namespace lamina::schema {
namespace {

constexpr std::string_view kNoSpaceRemedy =
    "free space on that file system (or raise the quota), or choose another place";

Result<std::string> text_of(const Json& document, const char* name) {
  const auto found = document.find(name);
  if (found == document.end()) return fail(ErrorKind::kFailed, "field '{}' is missing", name);
  if (!found->is_string()) return fail(ErrorKind::kFailed, "field '{}' is not a text", name);
  return found->get<std::string>();
}

}  // namespace

std::string remedy_of(const Error& error) {
  if (!error.remedy.empty() || error.kind != ErrorKind::kNoSpace) return error.remedy;
  return std::string(kNoSpaceRemedy);
}

int exit_code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailed:
    case ErrorKind::kExists:
    case ErrorKind::kPermission:
    case ErrorKind::kUnsupported:
      return kExitFailed;
    case ErrorKind::kUsage:
      return kExitUsage;
    case ErrorKind::kNotFound:
      return kExitNotFound;
    case ErrorKind::kCorrupt:
      return kExitCorrupt;
    case ErrorKind::kBusy:
      return kExitBusy;
    case ErrorKind::kNoSpace:
      return kExitNoSpace;
    case ErrorKind::kInterrupted:
      return kExitInterrupted;
  }
  return kExitFailed;
}

Json error_json(const Error& error) {
  Json document = {{"kind", word_of(error.kind)}, {"message", error.message}};
  if (const std::string remedy = remedy_of(error); !remedy.empty()) document["remedy"] = remedy;
  document["exit_code"] = exit_code_of(error.kind);
  return document;
}

Result<Error> error_from_json(const Json& document) {
  if (!document.is_object()) return fail(ErrorKind::kFailed, "it is not an object");
  Error error;
  LAMINA_ASSIGN_OR_RETURN(const std::string kind, text_of(document, "kind"));
  // A newer program may have more kinds.
  error.kind = value_of<ErrorKind>(kind).value_or(ErrorKind::kFailed);
  LAMINA_ASSIGN_OR_RETURN(error.message, text_of(document, "message"));
  if (const auto notes = document.find("notes"); notes != document.end() && !notes->is_null()) {
    if (!notes->is_array()) return fail(ErrorKind::kFailed, "field 'notes' is not a list of texts");
    for (const Json& note : *notes) {
      if (!note.is_string()) {
        return fail(ErrorKind::kFailed, "field 'notes' is not a list of texts");
      }
      error.notes.push_back(note.get<std::string>());
    }
  }
  if (document.contains("remedy")) {
    LAMINA_ASSIGN_OR_RETURN(error.remedy, text_of(document, "remedy"));
  }
  return error;
}

}  // namespace lamina::schema
