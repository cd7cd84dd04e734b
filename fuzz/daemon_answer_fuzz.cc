// Answers of a store's daemon, as the command line reads them: each comes to a report that survives
// a round trip, to an error that says something, or to nothing where nothing was begun.
//
// An input is a letter for what was asked, the status, a newline, and the body.
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "check.h"
#include "cli/daemon_answer.h"
#include "report/lifecycle_json.h"
#include "report/snapshot_json.h"

namespace {

using namespace lamina;
using lamina::fuzz::check;
using lamina::report::Json;

std::string text_of(const Json& document) { return report::json_text(document, -1); }

/// What is printed of a report is the same when it has been sent once more.
template <typename Report, typename Encode>
int read(unsigned status, const std::string& body, Result<Report> (*decode)(const Json& document),
         const Encode& encode) {
  cli::AnswerReader reader("store");
  reader.paths().add("/srv/store", "store");
  reader.paths().add("/srv/store/a", "a");
  const auto asked = reader.read(status, body, decode);
  if (!asked) {
    check(status == 403 || status == 413 || status == 421 || status == 503);
    return 0;
  }
  if (!*asked) {
    const Error& error = asked->error();
    check(report::exit_code_of(error.kind) != report::kExitDone);
    static_cast<void>(text_of(report::error_json(error)));
    return 0;
  }
  check(status == 200);
  const Json document = encode(**asked);
  const auto again = decode(document);
  check(again && text_of(encode(*again)) == text_of(document));
  return 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr double kElapsedMs = 1.5;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view head = input.substr(0, input.find('\n'));
  const std::string body(input.substr(std::min(head.size() + 1, size)));
  unsigned status = 0;
  if (!head.empty()) std::from_chars(head.data() + 1, head.data() + head.size(), status);
  switch (head.empty() ? '\0' : head.front()) {
    case 'p':
      return read(status, body, report::pause_from_json, report::pause_json);
    case 'r':
      return read(status, body, report::resume_from_json, report::resume_json);
    case 'v':
      return read(status, body, report::recover_from_json,
                  [](const RecoverReport& report) { return report::recover_json(report, false); });
    case 'f':
      return read(status, body, report::fork_from_json,
                  [](const ForkReport& report) { return report::fork_json(report, kElapsedMs); });
    case 'd':
      return read(status, body, report::removal_from_json,
                  [](const RemoveReport& report) { return report::removal_json(report, true); });
    default:
      return read(status, body, report::compaction_from_json, [](const CompactReport& report) {
        return report::compaction_json(report, true, kElapsedMs);
      });
  }
}
