#include "report/error_json.h"

#include <array>
#include <string>
#include <string_view>

#include "report/json_reader.h"

namespace lamina::report {
namespace {

constexpr std::array kKinds = {ErrorKind::kFailed,     ErrorKind::kUsage, ErrorKind::kNotFound,
                               ErrorKind::kCorrupt,    ErrorKind::kBusy,  ErrorKind::kNoSpace,
                               ErrorKind::kInterrupted};

constexpr std::string_view kNoSpaceRemedy =
    "; free space on that file system (or raise the quota), or choose another place";

}  // namespace

std::string_view kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailed:
      return "failed";
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kNotFound:
      return "not_found";
    case ErrorKind::kCorrupt:
      return "corrupt";
    case ErrorKind::kBusy:
      return "busy";
    case ErrorKind::kNoSpace:
      return "no_space";
    case ErrorKind::kInterrupted:
      return "interrupted";
  }
  return "failed";
}

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
  return {{"kind", kind_name(error.kind)},
          {"message", message_of(error)},
          {"exit_code", exit_code_of(error.kind)}};
}

Result<Error> error_from_json(const Json& document) {
  std::vector<std::pair<std::string_view, ErrorKind>> words;
  words.reserve(kKinds.size());
  for (const ErrorKind kind : kKinds) words.emplace_back(kind_name(kind), kind);
  Error error;
  JsonReader reader(document);
  reader.choice("kind", error.kind, words);
  reader.text("message", error.message);
  if (reader.has("notes")) reader.texts("notes", error.notes);
  LAMINA_RETURN_IF_ERROR(reader.end());
  // The remedy is put there again when the message is shown.
  if (error.kind == ErrorKind::kNoSpace && error.message.ends_with(kNoSpaceRemedy)) {
    error.message.resize(error.message.size() - kNoSpaceRemedy.size());
  }
  return error;
}

}  // namespace lamina::report
