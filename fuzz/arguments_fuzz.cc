// Arguments of the command line, one on each line of the input: they come to a verb that could be
// run (and is not), to a text that is asked for, or to a message that can be shown.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/escape.h"
#include "check.h"
#include "cli/command_line.h"

namespace {

using lamina::fuzz::check;

/// As a program can have them: without NUL.
std::vector<std::string> words_of(std::string_view input) {
  std::vector<std::string> words;
  while (!input.empty()) {
    std::string_view line = input.substr(0, input.find('\n'));
    input.remove_prefix(std::min(line.size() + 1, input.size()));
    words.emplace_back(line.substr(0, line.find('\0')));
  }
  return words;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // What a message has besides the arguments that it quotes.
  constexpr std::size_t kMaxWordsBytes = 1024;
  // Sixteen verbs with their options are not made for each input: that would be all it does.
  constexpr unsigned kInputsEach = 1000;
  static std::optional<lamina::cli::CommandLine> made;
  static unsigned inputs = 0;
  if (inputs++ % kInputsEach == 0) made.emplace();
  lamina::cli::CommandLine& command_line = *made;
  const auto invocation = command_line.parse(words_of({reinterpret_cast<const char*>(data), size}));
  if (invocation) {
    check(invocation->action == nullptr || !command_line.verb().empty());
    check(invocation->action == nullptr || invocation->text.empty());
    return 0;
  }
  const lamina::Error& error = invocation.error();
  check(error.kind == lamina::ErrorKind::kUsage);
  check(!error.message.empty() && error.message.size() <= size + kMaxWordsBytes);
  const std::string line = lamina::escaped_line(error.message);
  check(lamina::escaped_line(line) == line);
  return 0;
}
