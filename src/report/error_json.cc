#include "report/error_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "base/utf8.h"
#include "report/json_reader.h"

namespace lamina::report {
namespace {

constexpr std::array kKinds = {ErrorKind::kFailed,     ErrorKind::kUsage, ErrorKind::kNotFound,
                               ErrorKind::kCorrupt,    ErrorKind::kBusy,  ErrorKind::kNoSpace,
                               ErrorKind::kInterrupted};

constexpr std::string_view kNoSpaceRemedy =
    "; free space on that file system (or raise the quota), or choose another place";

constexpr auto kReplace = Json::error_handler_t::replace;

/// True when the document has a text that is not UTF-8.
// NOLINTNEXTLINE(misc-no-recursion): as deep as our reports
bool has_other_bytes(const Json& document) {
  if (document.is_string()) return !is_utf8(document.get_ref<const std::string&>());
  return document.is_structured() && std::any_of(document.begin(), document.end(), has_other_bytes);
}

std::string to_hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

/// With a field NAME_hex beside each field NAME whose text is not UTF-8.
// NOLINTNEXTLINE(misc-no-recursion): as deep as our reports
Json with_bytes(const Json& document) {
  if (!document.is_structured()) return document;
  Json made = document.is_array() ? Json::array() : Json::object();
  for (const auto& [name, value] : document.items()) {
    if (document.is_array()) {
      made.push_back(with_bytes(value));
      continue;
    }
    made[name] = with_bytes(value);
    if (value.is_string() && has_other_bytes(value)) {
      made[name + "_hex"] = to_hex(value.get_ref<const std::string&>());
    }
  }
  return made;
}

/// JSON escapes the control characters below 0x20; a terminal knows more.
std::string without_controls(const std::string& text) {
  constexpr char kDelete = 0x7f;
  constexpr char kC1 = '\xc2';
  if (text.find_first_of({kDelete, kC1}) == std::string::npos) return text;
  std::string made;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (text[i] == kDelete) {
      made += "\\u007f";
    } else if (text[i] == kC1 && next >= 0x80 && next < 0xa0) {
      made += fmt::format("\\u{:04x}", next);
      ++i;
    } else {
      made += text[i];
    }
  }
  return made;
}

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

std::string json_text(const Json& document, int indent) {
  const bool has_bytes = has_other_bytes(document);
  return without_controls(
      (has_bytes ? with_bytes(document) : document).dump(indent, ' ', false, kReplace));
}

}  // namespace lamina::report
