// The daemon's options, from the command line and from a JSON file. The names are the same
// (--recover-interval is "recover_interval" in the file). The command line takes precedence.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "schema/error_json.h"

namespace CLI {  // NOLINT(readability-identifier-naming)
class App;
}

namespace lamina::daemon {

/// Pushes after each pause.
struct PushSettings {
  std::string url;          ///< empty: none
  std::string names = "*";  ///< of the snapshots that are pushed: a pattern
  std::string key_file;
  std::string key_command;
  std::size_t parallel = 2;
  std::uint64_t rate_limit_bytes_s = 0;  ///< of all pushes together; 0: no limit
  std::chrono::seconds longest_delay{300};
  /// Of pulls and resumes: as PullOptions::cache_bytes.
  std::optional<std::uint64_t> cache_bytes{};

  bool operator==(const PushSettings&) const = default;
};

struct Settings {
  std::string store;
  std::string listen;   ///< path of the API's socket
  std::string metrics;  ///< path of the metrics' socket; empty: none
  std::uint32_t listen_mode = 0600;
  std::uint32_t metrics_mode = 0600;
  std::string lamina;  ///< the program `lamina`, which serves pages
  std::chrono::seconds request_timeout{30};
  std::size_t workers = 16;
  std::size_t events = 1000;
  std::uint64_t freeze_memory = kFreezeMemoryShare;  ///< of pauses that do not say
  std::string freeze_directory;                      ///< the same
  PushSettings push;
  // SIGHUP reloads those from here on.
  std::string policy;
  std::uint64_t rate = 0;
  std::chrono::seconds recover_interval{60};
  std::chrono::seconds stop_timeout{60};
  std::vector<std::uint32_t> allow_uid;
  bool no_hooks = false;
};

/// The options of the command line, as JSON values by their names in the file, and the file.
struct GivenOptions {
  schema::Json values = schema::Json::object();
  std::string config;  ///< path of the file; empty: none
};

/// Sets up `app` with the daemon's name and options. Parsing fills `given`, which must outlive it.
void describe_command_line(CLI::App& app, GivenOptions& given);

/// Parses the command line. Prints the text of --help or --version, and then returns nothing.
/// kUsage: wrong arguments; kFailed: the text could not be printed.
Result<std::optional<GivenOptions>> parse_command_line(int argc, char** argv);

/// The settings of the command line and the file, which is read now. kUsage: the message names what
/// is wrong; kNotFound: the file.
Result<Settings> settings_of(const GivenOptions& given);

/// Names of the options that SIGHUP does not change and in which `fresh`, read now, differs from
/// `running`, read at the start.
std::vector<std::string> changes_that_need_a_restart(const Settings& running,
                                                     const Settings& fresh);

}  // namespace lamina::daemon
