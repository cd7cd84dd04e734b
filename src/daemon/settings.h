// The options of the daemon: of the command line, and of a JSON file with the same names
// (--recover-interval is "recover_interval" there). What is on the command line wins.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "schema/error_json.h"

namespace CLI {  // NOLINT(readability-identifier-naming)
class App;
}

namespace lamina::daemon {

struct Settings {
  std::string store;
  std::string listen;   ///< path of the socket
  std::string metrics;  ///< path; empty: none
  std::uint32_t listen_mode = 0600;
  std::uint32_t metrics_mode = 0600;
  std::string lamina;  ///< the program that serves pages
  std::chrono::seconds request_timeout{30};
  std::size_t workers = 16;
  std::size_t events = 1000;
  // From here on: what a SIGHUP reads anew.
  std::string policy;
  std::uint64_t rate = 0;
  std::chrono::seconds recover_interval{60};
  std::chrono::seconds stop_timeout{60};
  std::vector<std::uint32_t> allow_uid;
  bool no_hooks = false;
};

/// What the command line gave: JSON values by the names of the file, and the file.
struct GivenOptions {
  schema::Json values = schema::Json::object();
  std::string config;  ///< path of the file; empty: none
};

/// Gives `app` the daemon's name and options; parsing it fills `given`, which must outlive it.
void describe_command_line(CLI::App& app, GivenOptions& given);

/// Parses the command line; nothing when --help or --version has been answered. kUsage.
Result<std::optional<GivenOptions>> parse_command_line(int argc, char** argv);

/// The settings of the command line and, read now, the file. kUsage names what is wrong.
Result<Settings> settings_of(const GivenOptions& given);

}  // namespace lamina::daemon
