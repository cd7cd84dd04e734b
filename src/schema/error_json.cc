#include "schema/error_json.h"

#include <string_view>

#include "base/error.h"
#include "lamina/words.h"

namespace lamina::schema {
namespace {

constexpr std::string_view kNoSpaceRemedy =
    "; free space on that file system (or raise the quota), or choose another place";

Result<std::string> text_of(const Json& document, const char* name) {
  const auto found = document.find(name);
  if (found == document.end()) return fail(ErrorKind::kFailed, "field '{}' is missing", name);
  if (!found->is_string()) return fail(ErrorKind::kFailed, "field '{}' is not a text", name);
  return found->get<std::string>();
}

}  // namespace

std::string message_of(const Error& error) {
  return error.kind == ErrorKind::kNoSpace ? error.message + std::string(kNoSpaceRemedy)
                                           : error.message;
}

int exit_code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailed:
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
  return {{"kind", word_of(error.kind)},
          {"message", message_of(error)},
          {"exit_code", exit_code_of(error.kind)}};
}

Result<Error> error_from_json(const Json& document) {
  if (!document.is_object()) return fail(ErrorKind::kFailed, "it is not an object");
  Error error;
  LAMINA_ASSIGN_OR_RETURN(const std::string kind, text_of(document, "kind"));
  const auto known = value_of<ErrorKind>(kind);
  if (!known) return fail(ErrorKind::kFailed, "field 'kind' is not a word that is known here");
  error.kind = *known;
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
  // The remedy is put there again when the message is shown.
  if (error.kind == ErrorKind::kNoSpace && error.message.ends_with(kNoSpaceRemedy)) {
    error.message.resize(error.message.size() - kNoSpaceRemedy.size());
  }
  return error;
}

}  // namespace lamina::schema
