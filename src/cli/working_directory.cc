#include "cli/working_directory.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "os/directory.h"

namespace lamina::cli {
namespace {

constexpr std::array<std::string_view, 4> kPathOptions = {"--store", "--socket", "--state-dir",
                                                          "--metrics"};
constexpr std::array<std::string_view, 2> kFlags = {"--record", "--once"};

template <std::size_t kCount>
bool is_one_of(std::string_view word, const std::array<std::string_view, kCount>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// Makes paths absolute that are relative to a directory.
class PathResolver {
 public:
  explicit PathResolver(std::string directory) : directory_(std::move(directory)) {}

  void resolve(std::string& path) const {
    if (!path.empty() && !path.starts_with('/')) path = directory_ + "/" + path;
  }

  /// Resolves the path in one word of a command line. `before` is the word before it.
  void resolve_argument(std::string& word, std::string_view before) const {
    const std::size_t sign = word.find('=');
    if (word.starts_with("--") && sign != std::string::npos) {
      if (!is_one_of(std::string_view(word).substr(0, sign), kPathOptions)) return;
      std::string value = word.substr(sign + 1);
      resolve(value);
      word = word.substr(0, sign + 1) + value;
    } else if (!word.starts_with('-')) {
      const bool is_value = before.starts_with("--") && before != "--" &&
                            before.find('=') == std::string_view::npos &&
                            !is_one_of(before, kFlags);
      if (!is_value || is_one_of(before, kPathOptions)) resolve(word);
    }
  }

 private:
  std::string directory_;
};

}  // namespace

void leave_working_directory(ServeOptions& options, std::vector<std::string>& command) {
  std::error_code error;
  std::string directory = std::filesystem::current_path(error).string();
  if (error || !os::is_same_directory(directory, ".") || ::chdir("/") != 0) return;
  if (directory == "/") directory.clear();
  const PathResolver resolver(std::move(directory));
  resolver.resolve(options.store);
  resolver.resolve(options.state_dir);
  resolver.resolve(options.metrics_socket);
  for (ServeEndpoint& endpoint : options.endpoints) {
    resolver.resolve(endpoint.snapshot);
    resolver.resolve(endpoint.socket);
  }
  // The program, which is absolute, and the verb come first.
  constexpr std::size_t kFirstArgument = 2;
  std::string before;
  for (std::size_t i = kFirstArgument; i < command.size(); ++i) {
    const std::string given = command[i];
    resolver.resolve_argument(command[i], before);
    before = given;
  }
}

}  // namespace lamina::cli
