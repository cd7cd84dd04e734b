#include "daemon/settings.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <limits>
#include <sstream>
#include <string_view>

#include "base/error.h"
#include "base/escape.h"
#include "lamina/compact.h"
#include "lamina/version.h"
#include "os/file.h"
#include "os/process.h"

namespace lamina::daemon {
namespace {

using schema::Json;

constexpr std::size_t kHelpColumn = 32;
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kMaxSeconds = 86'400;

constexpr const char* kFooter =
    "Pauses, resumes and keeps the snapshots of one store, for clients that use HTTP\n"
    "and JSON over a Unix socket. Merges in the background, and recovers the store\n"
    "after crashes. docs/api.md describes the requests. A client has the rights of\n"
    "this process: hooks and paths of its requests are used with the daemon's\n"
    "rights. VMs do not need the daemon: it starts 'lamina serve', which serves\n"
    "their pages and outlives it.\n\n"
    "Signals: SIGTERM and SIGINT stop it after the running requests. SIGHUP reads\n"
    "the file again (policy, rate, recover_interval, stop_timeout, allow_uid,\n"
    "no_hooks).\n\n"
    "Exit codes: 0 stopped, 1 failed or requests did not end in time, 2 usage,\n"
    "3 not found, 5 busy: the store has a daemon already.";

enum class Kind : std::uint8_t { kText, kSocket, kMode, kNumber, kUids, kFlag };

struct Option {
  const char* name = "";  ///< in the file; the command line has "--" before it and '-' for '_'
  Kind kind = Kind::kText;
  const char* placeholder = "";
  const char* help = "";
  std::uint64_t least = 0;
  std::uint64_t most = 0;
};

constexpr std::array kOptions = {
    Option{"store", Kind::kText, "DIR", "directory of the store (required)"},
    Option{"listen", Kind::kSocket, "unix:PATH", "socket of the API (required)"},
    Option{"listen_mode", Kind::kMode, "MODE", "mode of that socket (default 0600)"},
    Option{"allow_uid", Kind::kUids, "UID", "another user who may connect; repeatable"},
    Option{"metrics", Kind::kSocket, "unix:PATH", "another socket, for metrics only"},
    Option{"metrics_mode", Kind::kMode, "MODE", "mode of that socket (default 0600)"},
    Option{"policy", Kind::kText, "POLICY", "merge policy (default tiered)"},
    Option{"rate", Kind::kNumber, "BYTES", "merge at most BYTES/s (default: no limit)", 1,
           std::numeric_limits<std::int64_t>::max()},
    Option{"recover_interval", Kind::kNumber, "SECONDS", "time between recoveries (default 60)", 1,
           kMaxSeconds},
    Option{"stop_timeout", Kind::kNumber, "SECONDS", "time for requests to end (default 60)", 1,
           kMaxSeconds},
    Option{"request_timeout", Kind::kNumber, "SECONDS", "time to send a request (default 30)", 1,
           kMaxSeconds},
    Option{"workers", Kind::kNumber, "N", "requests at the same time (default 16)", 1, 1024},
    Option{"events", Kind::kNumber, "N", "number that is kept (default 1000)", 1, 1'000'000},
    Option{"freeze_memory", Kind::kNumber, "BYTES", "for diffs of VMs that run on (default: half)",
           0, std::uint64_t{1} << 62},
    Option{"freeze_directory", Kind::kText, "DIR", "for them, on tmpfs (default: in /dev/shm)"},
    Option{"push", Kind::kText, "URL", "push after each pause to this bucket"},
    Option{"push_names", Kind::kText, "PATTERN", "push these snapshots only (default *)"},
    Option{"push_key_file", Kind::kText, "FILE", "encrypt with the key in FILE"},
    Option{"push_key_command", Kind::kText, "COMMAND", "encrypt with a key that COMMAND wraps"},
    Option{"push_parallel", Kind::kNumber, "N", "pushes at the same time (default 2)", 1, 64},
    Option{"push_rate", Kind::kNumber, "BYTES", "push at most BYTES/s (default: no limit)", 1,
           std::numeric_limits<std::int64_t>::max()},
    Option{"push_retry", Kind::kNumber, "SECONDS", "longest time to a retry (default 300)", 1,
           kMaxSeconds},
    Option{"cache_bytes", Kind::kNumber, "BYTES", "of what the bucket has too (default: no bound)",
           0, std::uint64_t{1} << 62},
    Option{"lamina", Kind::kText, "PATH", "lamina program (default: beside laminad)"},
    Option{"no_hooks", Kind::kFlag, "", "refuse pauses with a frozen_hook"},
};

std::string option_name(std::string_view name) {
  std::string option = "--" + std::string(name);
  for (char& c : option) {
    if (c == '_') c = '-';
  }
  return option;
}

/// Reads `value` into `place`; false if it has another type or is empty.
bool read_text(const Json& value, std::string& place) {
  if (!value.is_string()) return false;
  place = value.get<std::string>();
  return !place.empty() && place.find('\0') == std::string::npos;
}

/// The same, or an empty text for "none".
bool read_text_or_none(const Json& value, std::string& place) {
  if (value.is_string() && value.get_ref<const std::string&>().empty()) {
    place.clear();
    return true;
  }
  return read_text(value, place);
}

bool read_socket(const Json& value, std::string& place) {
  constexpr std::string_view kScheme = "unix:";
  if (!read_text(value, place) || !place.starts_with(kScheme)) return false;
  place.erase(0, kScheme.size());
  return !place.empty();
}

/// Reads a number, or its text (from the command line).
bool read_number(const Json& value, int base, std::uint64_t& number) {
  if (value.is_number_unsigned() && base == 10) {
    number = value.get<std::uint64_t>();
    return true;
  }
  if (!value.is_string()) return false;
  const auto& text = value.get_ref<const std::string&>();
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number, base);
  return error == std::errc() && stopped == end;
}

bool read_mode(const Json& value, std::uint32_t& place) {
  constexpr std::uint64_t kMostMode = 0777;
  std::uint64_t mode = 0;
  if (!read_number(value, 8, mode) || mode > kMostMode) return false;
  place = static_cast<std::uint32_t>(mode);
  return true;
}

bool read_uids(const Json& value, std::vector<std::uint32_t>& place) {
  if (!value.is_array()) return false;
  for (const Json& one : value) {
    std::uint64_t uid = 0;
    if (!read_number(one, 10, uid) || uid >= std::numeric_limits<std::uint32_t>::max()) {
      return false;
    }
    place.push_back(static_cast<std::uint32_t>(uid));
  }
  return true;
}

template <typename T>
bool read_limited(const Option& option, const Json& value, T& place) {
  std::uint64_t number = 0;
  if (!read_number(value, 10, number) || number < option.least || number > option.most) {
    return false;
  }
  place = T(number);
  return true;
}

bool set_push(PushSettings& push, const Option& option, const Json& value) {
  const std::string_view name = option.name;
  if (name == "push") return read_text_or_none(value, push.url);
  if (name == "push_names") return read_text(value, push.names);
  if (name == "push_key_file") return read_text_or_none(value, push.key_file);
  if (name == "push_key_command") return read_text_or_none(value, push.key_command);
  if (name == "push_parallel") return read_limited(option, value, push.parallel);
  if (name == "push_rate") return read_limited(option, value, push.rate_limit_bytes_s);
  return read_limited(option, value, push.longest_delay);
}

bool set(Settings& settings, const Option& option, const Json& value) {
  const std::string_view name = option.name;
  if (name.starts_with("push")) return set_push(settings.push, option, value);
  if (name == "store") return read_text(value, settings.store);
  if (name == "listen") return read_socket(value, settings.listen);
  if (name == "listen_mode") return read_mode(value, settings.listen_mode);
  if (name == "allow_uid") return read_uids(value, settings.allow_uid);
  if (name == "metrics") return read_socket(value, settings.metrics);
  if (name == "metrics_mode") return read_mode(value, settings.metrics_mode);
  if (name == "policy") return read_text(value, settings.policy);
  if (name == "rate") return read_limited(option, value, settings.rate);
  if (name == "recover_interval") return read_limited(option, value, settings.recover_interval);
  if (name == "stop_timeout") return read_limited(option, value, settings.stop_timeout);
  if (name == "request_timeout") return read_limited(option, value, settings.request_timeout);
  if (name == "workers") return read_limited(option, value, settings.workers);
  if (name == "events") return read_limited(option, value, settings.events);
  if (name == "freeze_memory") return read_limited(option, value, settings.freeze_memory);
  if (name == "freeze_directory") return read_text(value, settings.freeze_directory);
  if (name == "cache_bytes") return read_limited(option, value, settings.push.cache_bytes);
  if (name == "lamina") return read_text(value, settings.lamina);
  if (name != "no_hooks" || !value.is_boolean()) return false;
  settings.no_hooks = value.get<bool>();
  return true;
}

std::string accepted_by(const Option& option) {
  switch (option.kind) {
    case Kind::kText:
      return "a text that is not empty";
    case Kind::kSocket:
      return "'unix:' and the path of a socket";
    case Kind::kMode:
      return "the octal mode of a file, as a text: '0660'";
    case Kind::kNumber:
      return fmt::format("a whole number from {} to {}", option.least, option.most);
    case Kind::kUids:
      return "a list of user ids";
    case Kind::kFlag:
      return "true or false";
  }
  return "";
}

std::string option_names() {
  std::string names;
  for (const Option& option : kOptions) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", option.name);
  }
  return names;
}

Status set_all(Settings& settings, const Json& values, const std::string& source) {
  for (const auto& [name, value] : values.items()) {
    const auto* option = std::find_if(kOptions.begin(), kOptions.end(),
                                      [&](const Option& one) { return one.name == name; });
    if (option == kOptions.end()) {
      return with_remedy(
          fail(ErrorKind::kUsage, "{}: '{}' is not an option", source, escaped_value(name)),
          "the options are {}", option_names());
    }
    if (!set(settings, *option, value)) {
      return fail(ErrorKind::kUsage, "{}: {} is {}; it takes {}", source,
                  source == "command line" ? option_name(name) : "'" + name + "'",
                  schema::json_text(value, -1), accepted_by(*option));
    }
  }
  return {};
}

/// "line 3, column 5" of the byte with that number, which counts from 1.
std::string place_of(std::string_view text, std::size_t number) {
  const std::string_view before = text.substr(0, number == 0 ? 0 : number - 1);
  const std::size_t newline = before.rfind('\n');  // npos + 1 is 0
  return fmt::format("line {}, column {}", std::count(before.begin(), before.end(), '\n') + 1,
                     before.size() - (newline + 1) + 1);
}

Result<Json> parse_object(std::string_view text, const std::string& path) {
  try {
    Json values = Json::parse(text);
    if (values.is_object()) return values;
  } catch (const Json::parse_error& error) {
    return with_remedy(
        fail(ErrorKind::kUsage, "'{}' is not JSON at {}", path, place_of(text, error.byte)),
        "look there and at the line above for a missing comma, quote or brace");
  }
  return fail(ErrorKind::kUsage, "'{}' is not a JSON object: it must begin with '{{'", path);
}

Result<Json> read_file(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(file.fd.get(), kMaxFileBytes, path));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return parse_object(text, path);
}

/// The program `lamina` in this program's directory.
std::string default_lamina() {
  const std::string path = os::own_program();
  if (path.empty()) return "lamina";
  return path.substr(0, path.rfind('/') + 1) + "lamina";
}

void add_option(CLI::App& app, const Option& option, Json& values) {
  const std::string name = option.name;
  CLI::Option* added = nullptr;
  if (option.kind == Kind::kFlag) {
    app.add_flag_function(
        option_name(name), [&values, name](std::int64_t) { values[name] = true; }, option.help);
    return;
  }
  if (option.kind == Kind::kUids) {
    added = app.add_option_function<std::vector<std::string>>(
        option_name(name),
        [&values, name](const std::vector<std::string>& texts) { values[name] = texts; },
        option.help);
    added->allow_extra_args(false);
  } else {
    added = app.add_option_function<std::string>(
        option_name(name), [&values, name](const std::string& text) { values[name] = text; },
        option.help);
  }
  added->type_name("")->option_text(option.placeholder);
}

}  // namespace

void describe_command_line(CLI::App& app, GivenOptions& given) {
  app.name("laminad");
  app.description("laminad keeps the memory of paused microVMs");
  app.set_version_flag("--version,-V", std::string("laminad ") + version_text());
  app.footer(kFooter);
  app.get_formatter()->column_width(kHelpColumn);
  for (const Option& option : kOptions) add_option(app, option, given.values);
  app.add_option("--config", given.config, "a JSON file with these options")
      ->type_name("")
      ->option_text("FILE");
}

Result<std::optional<GivenOptions>> parse_command_line(int argc, char** argv) {
  GivenOptions given;
  CLI::App app;
  describe_command_line(app, given);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    std::ostringstream text;
    app.exit(success, text, text);
    const std::string answer = text.str();
    static_cast<void>(std::fwrite(answer.data(), 1, answer.size(), stdout));
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      return fail(ErrorKind::kFailed, "the help could not be written to standard output");
    }
    return std::optional<GivenOptions>();
  } catch (const CLI::ParseError& error) {
    return fail(ErrorKind::kUsage, "{}; try 'laminad --help'", error.what());
  }
  return std::optional(std::move(given));
}

Result<Settings> settings_of(const GivenOptions& given) {
  Settings settings;
  settings.policy = kDefaultMergePolicy;
  if (!given.config.empty()) {
    LAMINA_ASSIGN_OR_RETURN(Json values, read_file(given.config));
    // Lists would be joined: a list on the command line replaces that in the file.
    for (const auto& [name, value] : given.values.items()) values.erase(name);
    LAMINA_RETURN_IF_ERROR(set_all(settings, values, given.config));
  }
  LAMINA_RETURN_IF_ERROR(set_all(settings, given.values, "command line"));
  if (settings.store.empty()) return fail(ErrorKind::kUsage, "--store is required");
  if (settings.listen.empty()) return fail(ErrorKind::kUsage, "--listen is required");
  LAMINA_RETURN_IF_ERROR(check_merge_policy(settings.policy));
  if (!settings.push.key_file.empty() && !settings.push.key_command.empty()) {
    return fail(ErrorKind::kUsage, "push_key_file and push_key_command exclude each other");
  }
  while (settings.store.size() > 1 && settings.store.ends_with('/')) settings.store.pop_back();
  if (settings.lamina.empty()) settings.lamina = default_lamina();
  return settings;
}

std::vector<std::string> changes_that_need_a_restart(const Settings& running,
                                                     const Settings& fresh) {
  std::vector<std::string> names;
  const auto compare = [&](const char* name, const auto& before, const auto& after) {
    if (before != after) names.emplace_back(name);
  };
  compare("store", running.store, fresh.store);
  compare("listen", running.listen, fresh.listen);
  compare("listen_mode", running.listen_mode, fresh.listen_mode);
  compare("metrics", running.metrics, fresh.metrics);
  compare("metrics_mode", running.metrics_mode, fresh.metrics_mode);
  compare("lamina", running.lamina, fresh.lamina);
  compare("request_timeout", running.request_timeout, fresh.request_timeout);
  compare("workers", running.workers, fresh.workers);
  compare("events", running.events, fresh.events);
  compare("freeze_memory", running.freeze_memory, fresh.freeze_memory);
  compare("freeze_directory", running.freeze_directory, fresh.freeze_directory);
  PushSettings push = fresh.push;
  push.cache_bytes = running.push.cache_bytes;
  compare("push", running.push, push);
  compare("cache_bytes", running.push.cache_bytes, fresh.push.cache_bytes);
  return names;
}

}  // namespace lamina::daemon
