// Replies of a store's daemon, as the command line reads them: each gives a report that survives a
// round trip, an error, or nothing if the daemon has begun nothing.
//
// An input is a letter for the request, the status, a newline, and the body.
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "check.h"
#include "cli/daemon_answer.h"
#include "schema/error_json.h"
#include "schema/report_json.h"

namespace {

using namespace lamina;
using lamina::fuzz::check;
using lamina::schema::Json;

std::string text_of(const Json& document) { return schema::json_text(document, -1); }

/// A report prints the same after another round trip.
template <typename Report>
int read(unsigned status, const std::string& body) {
  const auto reply = cli::AnswerReader("store").read<Report>(status, body);
  if (!reply) {
    check(status == 403 || status == 413 || status == 421 || status == 503);
    return 0;
  }
  if (!*reply) {
    const Error& error = reply->error();
    check(schema::exit_code_of(error.kind) != schema::kExitDone);
    static_cast<void>(text_of(schema::error_json(error)));
    return 0;
  }
  check(status == 200);
  const Json document = schema::to_json(**reply);
  const auto again = schema::from_json<Report>(document);
  check(again && text_of(schema::to_json(*again)) == text_of(document));
  return 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view head = input.substr(0, input.find('\n'));
  const std::string body(input.substr(std::min(head.size() + 1, size)));
  unsigned status = 0;
  if (!head.empty()) std::from_chars(head.data() + 1, head.data() + head.size(), status);
  switch (head.empty() ? '\0' : head.front()) {
    case 'p':
      return read<PauseReport>(status, body);
    case 'r':
      return read<ResumeReport>(status, body);
    case 'v':
      return read<schema::RecoverAnswer>(status, body);
    case 'f':
      return read<schema::ForkAnswer>(status, body);
    case 'd':
      return read<schema::RemoveAnswer>(status, body);
    default:
      return read<schema::CompactAnswer>(status, body);
  }
}
